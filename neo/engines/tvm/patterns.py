"""Numbers that say what may be fused to a function; TVM does not export its names for them to Python."""

# kOutEWiseFusable: operators element by element behind it; kOpaque: nothing
TAKES_EPILOGUE, OPAQUE = 4, 8
