"""The operator's side of a fleet: who is there, what is live, and how a bundle gets there."""
