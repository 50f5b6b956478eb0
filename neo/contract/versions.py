"""Which version of a format a document has, and who reads it.

A version is raised when a reader that does not know the new one would do the wrong thing with it. What such a reader
may pass over is a new field of the old version: fields that are unknown are passed over. Readers know every version
from the first on, see ``docs/formats.md``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from neo.contract.fields import ContractError, get

T = TypeVar("T")

#: the key under which a document says its version
VERSION_KEY = "schema"
_LARGEST = 1 << 31
_MEDIA_TYPE = re.compile(r"(?P<name>application/vnd\.neo-edge\.[a-z.]+)\.v(?P<version>[1-9][0-9]{0,8})(\+json)?")


class NewerFormat(ContractError):
    """Whole, but written by a later version of neo-edge than this one: to be kept, not to be thrown away as damaged."""

    exit_code = 34


def read_versioned(
    obj: dict[str, Any],
    readers: Mapping[int, Callable[[dict[str, Any]], T]],
    what: str,
    *,
    unsaid: int | None = None,
    key: str = VERSION_KEY,
) -> T:
    """What the reader for the document's version makes of it.

    unsaid: the version of a document that does not say one; None: every one of this format does. Raises NewerFormat
    for a version above those of ``readers``, ContractError for none or another.
    """
    version = unsaid if unsaid is not None and key not in obj else get(obj, key, int, what)
    if not 0 < version < _LARGEST:
        raise ContractError(f"{what}.{key} is no version of a format")
    newest = max(readers)
    if version > newest:
        raise NewerFormat(
            f"{what} was written by a newer neo-edge: it has format version {version}, this version reads up to "
            f"{newest}",
            hint="upgrade neo-edge here; nothing is damaged",
            details={"what": what, "version": version, "reads": newest},
        )
    if version not in readers:
        raise ContractError(
            f"{what} has format version {version}; this version reads {min(readers)} to {newest}",
            hint="write it again with this version of neo-edge",
        )
    return readers[version](obj)


def require_version(obj: dict[str, Any], newest: int, what: str, *, key: str = VERSION_KEY) -> None:
    """For a format whose versions are read alike, and whose first one was not said. Raises as ``read_versioned``."""
    version = obj.get(key, 1)
    if type(version) is int and 0 < version <= newest:  # a fleet sends tens of thousands of them
        return
    read_versioned(obj, dict.fromkeys(range(1, newest + 1), lambda _: None), what, unsaid=1, key=key)


def is_later_media_type(found: str, known: str) -> bool:
    """Is found a later version of known? Both end in ".v1" or ".v1+json", and the like."""
    return _media_version(found, known) > _media_version(known, known)


def check_media_type(found: str, known: str, what: str) -> None:
    """Raises NewerFormat if found is a later version of known."""
    if is_later_media_type(found, known):
        raise NewerFormat(
            f"{what} was written by a newer neo-edge: it is {found}, this version reads up to {known}",
            hint="upgrade neo-edge here; nothing is damaged",
            details={"what": what, "version": _media_version(found, known), "reads": _media_version(known, known)},
        )


def _media_version(found: str, known: str) -> int:
    """0 if found is no version of known."""
    match, own = (_MEDIA_TYPE.fullmatch(media_type) for media_type in (found, known))
    return int(match["version"]) if match and own and match["name"] == own["name"] else 0
