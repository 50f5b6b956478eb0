"""From scheduled kernels to an engine folder, as far as all backends do it alike: calls, memory, results of stages."""
