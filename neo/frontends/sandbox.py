"""Conversion in a confined process.

Parsers of model formats are large and were written for files of friends: here one may crash, hang or eat memory, and
the caller gets a NeoError.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neo.contract.fields import as_object
from neo.errors import ModelError, UsageError
from neo.frontends.base import Conversion, ConversionRequest
from neo.frontends.exchange import unpack_answer, write_request
from neo.isolation import Limits, isolated
from neo.isolation.call import Work
from neo.isolation.exhaustion import exhaustion


def convert(request: ConversionRequest, limits: Limits | None = None) -> Conversion:
    """Converts request.source to ONNX below request.scratch, an empty folder, and measures parity.

    limits: ``Limits.of_this_machine()`` if None. Raises ModelError and its children for what is wrong with the model,
    ResourceLimitExceeded or DiskFull if it does not fit, MissingDependency if a framework is not installed.
    details["traceback"] and details["log"] say where. The caller removes the scratch folder.
    """
    try:
        write_request(request)
    except OSError as error:
        raise exhaustion(str(error), error.errno) or UsageError(
            f"cannot write into the scratch folder {request.scratch}: {error.strerror}"
        ) from error
    work = Work("neo.frontends.sandbox:answer", f"converting {request.source.name}", ModelError)
    answered = isolated(work, request.scratch, limits)
    return unpack_answer(as_object(answered.get("conversion"), "conversion"), request.scratch)


def answer(scratch: Path) -> dict[str, Any]:
    """In the confined process."""
    from neo.frontends.conversion import convert as convert_here
    from neo.frontends.exchange import pack_answer, read_request
    from neo.frontends.failures import translated

    request = read_request(scratch)
    conversion = convert_here(request)
    try:
        return {"conversion": pack_answer(conversion, scratch)}
    except OSError as error:
        raise translated(error, request) from error
