"""Configurations of kernels that were measured: how they are searched, and where they are kept.

configuration  what is chosen for one kernel
signature      which kernels are the same
cache          what was measured before: the user's documents and those that come with the package
search         which of a module's kernels to measure, until the time is over
bench, worker  the candidates for one kernel, compiled and timed in a process of their own

``configuration`` and ``cache`` do not need TVM.
"""
