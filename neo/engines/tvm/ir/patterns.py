"""Attributes by which lowering describes a function to later stages."""

# of a function that concatenates its parameters: the axis
CONCATENATION = "neo.concatenation"
# of one that pads an image with zeros: rows above it, columns on its left, phases of its columns
FRAME = "neo.frame"
# of a depthwise reduction: the horizontal stride, in input columns
STRIDE = "neo.stride"
