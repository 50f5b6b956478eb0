"""The confined process: ``python -m neo.isolation.worker MODULE:FUNCTION SCRATCH LIMITS``; see ``neo.isolation.call``.

Answers on stdout with one JSON object: "answer", the function's, or "error", and "confinement", which limits hold;
everything that libraries print goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from neo.isolation.confine import Limits, confine


def main(entry: str, scratch: Path, limits: Limits) -> None:
    answer = os.dup(1)
    os.dup2(2, 1)
    # first of all: numpy starts threads when it is imported
    confinement = confine(limits)
    content = json.dumps({**_answer(entry, scratch), "confinement": confinement.to_json()}).encode()
    with os.fdopen(answer, "wb") as stream:
        stream.write(content)


def nothing(_scratch: Path) -> dict[str, object]:
    """The least that can be asked of a confined process: it says which limits hold."""
    return {}


def _answer(entry: str, scratch: Path) -> dict[str, object]:
    import traceback

    from neo.errors import MissingDependency, NeoError
    from neo.isolation.exhaustion import exhaustion

    module, _, function = entry.partition(":")
    try:
        answer: dict[str, object] = getattr(importlib.import_module(module), function)(scratch)
    except NeoError as error:
        error.details.setdefault("traceback", traceback.format_exc())
        return {"error": error.to_json()}
    except ModuleNotFoundError as error:
        missing = MissingDependency(f"{error.name} is not installed", hint="pip install 'neo-edge[compile]'")
        return {"error": missing.to_json()}
    except (OSError, MemoryError) as error:
        number = error.errno if isinstance(error, OSError) else None
        ours = exhaustion(f"{type(error).__name__}: {error}", number)
        if ours is None:
            raise
        return {"error": ours.to_json()}
    return {"answer": answer}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Limits.from_text(sys.argv[3]))
    sys.stderr.flush()
    # frameworks leave threads behind, and some of them hang or crash in their destructors
    os._exit(0)
