"""What became of a case, and what ``--engine auto`` makes of its engines' outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PASSED = "passed"
# the conversion refuses the model; the engine cannot be built, fails or differs from the golden sample, which a
# compilation notices; it is taken for right and answers wrongly, which nothing notices; it dies; it hangs
REFUSED, OUT, WRONG, CRASHED, TIMED_OUT = "refused", "out", "wrong", "crashed", "timed out"

PEER = "onnxruntime alone"
CONVERSION = "conversion"
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Outcome:
    status: str
    reason: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.status == PASSED

    def to_json(self) -> dict[str, Any]:
        return {"status": self.status, "reason": self.reason, "seconds": round(self.seconds, 3)}

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> Outcome:
        return cls(obj["status"], obj["reason"], obj["seconds"])


def auto_outcome(conversion: Outcome, engines: Mapping[str, Outcome]) -> Outcome:
    """Which of the engines that are right is taken depends on their speed, so all of these have to pass."""
    seconds = conversion.seconds + sum(outcome.seconds for outcome in engines.values())
    if not conversion.passed:
        return Outcome(conversion.status, conversion.reason, seconds)
    for name, outcome in engines.items():
        if outcome.status == WRONG:
            return Outcome(WRONG, f"{name}: {outcome.reason}", seconds)
    if any(outcome.passed for outcome in engines.values()):
        return Outcome(PASSED, "", seconds)
    return Outcome(OUT, "; ".join(f"{name}: {outcome.reason}" for name, outcome in engines.items()), seconds)
