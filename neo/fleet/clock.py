"""Time and randomness as the fleet's code takes them; tests bring their own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    #: seconds that only grow; for waiting
    monotonic: Callable[[], float]
    #: Unix time in seconds; for what is written into messages
    unix: Callable[[], float]


#: () -> an id that nobody else has: 16 hexadecimal digits
NewId = Callable[[], str]

SYSTEM_CLOCK = Clock(time.monotonic, time.time)


def random_id() -> str:
    return secrets.token_hex(8)
