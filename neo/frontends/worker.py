"""The sandboxed process: ``python -m neo.frontends.worker SCRATCH LIMITS``. Its parent is ``neo.frontends.sandbox``.

Answers on stdout with one JSON object, {"conversion": ...} or {"error": ...}; everything that libraries print goes
to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from neo.frontends.confine import Limits, confine


def main(scratch: Path, limits: Limits) -> None:
    answer = os.dup(1)
    os.dup2(2, 1)
    # first of all: numpy starts threads when it is imported
    confine(limits)
    content = json.dumps(_answer(scratch)).encode()
    with os.fdopen(answer, "wb") as stream:
        stream.write(content)


def _answer(scratch: Path) -> dict[str, object]:
    from neo.errors import NeoError
    from neo.frontends.conversion import convert
    from neo.frontends.exchange import pack_answer, read_request
    from neo.frontends.failures import translated

    request = read_request(scratch)
    try:
        conversion = convert(request)
        try:
            return {"conversion": pack_answer(conversion, scratch)}
        except OSError as error:
            raise translated(error, request) from error
    except NeoError as error:
        return {"error": error.to_json()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Limits.from_text(sys.argv[2]))
    sys.stderr.flush()
    # frameworks leave threads behind, and some of them hang or crash in their destructors
    os._exit(0)
