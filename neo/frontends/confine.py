from neo.isolation.confine import *  # noqa: F403
from neo.isolation.confine import Limits, confine, machine_memory_bytes  # noqa: F401
