"""How good a compiled model is on data with known answers, beside the model it was made from."""
