"""Time per kernel of a bundle on this machine, and how far each is from what the machine could do."""
