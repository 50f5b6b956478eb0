from __future__ import annotations

from hypothesis import settings

# a deadline per example measures the machine and its other tenants, and pytest-timeout is there for what hangs
settings.register_profile("neo", deadline=None)
settings.load_profile("neo")
