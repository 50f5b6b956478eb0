"""Autotuning: configurations of kernels are measured and kept.

signature      which kernels are the same
cache          what was measured before: the user's documents and those that come with the package; needs no TVM
search         which of a module's kernels to measure, until the time is over
bench, worker  the trials of one kernel, one for each configuration, compiled and timed in a process of their own

What can be chosen for a kernel is in ``units/configuration.py``.
"""
