"""What functions say of themselves to later stages, as attributes."""

# what a function that joins its parameters says of itself: along which axis
CONCATENATION = "neo.concatenation"
# and one that writes an image within zeros: how many rows above it, columns beside it, and phases
FRAME = "neo.frame"
# and a sum over an image in which no input serves several columns: inputs from one of its rows to the next
STRIDE = "neo.stride"
