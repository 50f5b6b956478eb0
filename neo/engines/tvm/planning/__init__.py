"""What all backends have in common between scheduled kernels and an engine folder: calls, memory, results of stages."""
