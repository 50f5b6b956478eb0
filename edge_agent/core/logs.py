"""What the agent writes to standard error: lines for people or for programs, and never a flood of them."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass

MAX_ALIKE = 20
WITHIN_S = 60.0
MAX_KINDS = 500


class JsonLines(logging.Formatter):
    """fields: what a call gives in ``extra`` under this name, as keys of their own."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"at": record.created, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


@dataclass(slots=True)
class _Recent:
    since: float
    count: int = 0


class NotTooManyAlike(logging.Filter):
    """Lets MAX_ALIKE records of one kind (logger and unformatted message) pass within WITHIN_S, and the first after
    that with the number of those left out: whoever can send to the device must not be able to fill its disk.
    """

    def __init__(self) -> None:
        super().__init__()
        self._recent: dict[tuple[str, str], _Recent] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.name, str(record.msg))
        if len(self._recent) >= MAX_KINDS and kind not in self._recent:
            self._recent.clear()  # a library that formats its messages itself
        recent = self._recent.setdefault(kind, _Recent(record.created))
        if record.created - recent.since >= WITHIN_S:
            left_out = recent.count - MAX_ALIKE
            self._recent[kind] = recent = _Recent(record.created)
            if left_out > 0:
                record.msg = f"{record.msg} ({left_out} more like this were left out)"
        recent.count += 1
        return recent.count <= MAX_ALIKE


def log_to_stderr(*, as_json: bool, debug: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    if not debug:
        handler.addFilter(NotTooManyAlike())
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every request that needs a new thread
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
