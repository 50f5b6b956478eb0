"""`neo demo`: the whole way on this machine, from a trained model to a device that answers."""
