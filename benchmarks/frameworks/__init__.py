"""Public architectures from every framework through our conversion: ``python -m benchmarks.frameworks``."""
