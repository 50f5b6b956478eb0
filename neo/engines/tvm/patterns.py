"""What functions say of themselves: what may be fused to them, by numbers that TVM does not export to Python."""

# kOutEWiseFusable: operators element by element behind it; kOpaque: nothing
TAKES_EPILOGUE, OPAQUE = 4, 8

# what a function that joins its parameters says of itself: along which axis
CONCATENATION = "neo.concatenation"
# and one that writes an image within zeros: how many rows above it, columns beside it, and phases
FRAME = "neo.frame"
