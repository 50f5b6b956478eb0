"""When a model that fails predictions is tested again, and what is reported of it. Fed with the time; does nothing."""

from __future__ import annotations

from edge_agent.worker.models import Model
from neo.errors import EngineError

#: between two self-tests that failing predictions ask for: clients that go on sending what the model fails at must
#: not keep it from answering the others
TEST_EVERY_S = 300.0
#: without a failure, while predictions succeed; then nothing is reported any more
CLEAR_S = 60.0


class FailureWatch:
    """now: monotonic, s. trouble: what the model fails at if it passed its self-test since, as it was at that time."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.trouble: EngineError | None = None
        self._failed = 0
        self._failed_at = 0.0
        self._answered_then = 0
        self._untested = False
        self._testing = False
        self._test_at = 0.0

    def wants_test(self, now: float) -> bool:
        """True if the self-test is to be run now; not again before ``tested`` was told what came of it."""
        answered, failed = self.model.tally.counts
        if failed > self._failed:
            self._failed, self._failed_at, self._answered_then = failed, now, answered
            self._untested = True
        elif self.trouble is not None and answered > self._answered_then and now - self._failed_at >= CLEAR_S:
            self.trouble = None
        if not self._untested or self._testing or now < self._test_at:
            return False
        self._untested, self._testing = False, True
        return True

    def tested(self, now: float, *, passed: bool) -> None:
        self._testing, self._test_at = False, now + TEST_EVERY_S
        failure = self.model.tally.last_failure
        if passed and failure is not None:
            answered, failed = self.model.tally.counts
            self.trouble = EngineError(
                f"{self.model.slot.assignment.reference} fails for some inputs ({failed} of {answered + failed} so "
                f"far), though it passes its self-test: {failure.message}",
                hint=failure.hint,
                details={"answered": answered, "failed": failed},
            )
