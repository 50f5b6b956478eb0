"""Scheduled TensorIR -> a shared library: calls in planned memory, prefetching, work stealing, linking."""
