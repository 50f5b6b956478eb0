"""Scheduled TensorIR -> one library: planned memory, calls, prefetching, linking."""
