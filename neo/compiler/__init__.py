"""A model file and targets -> signed bundles; the only package that knows the order of the steps."""
