"""The version of every document that the agent keeps on disk, under the key "schema".

1 is what agents wrote before there was such a key. A document of a later version may only get more keys, never fewer
or others: an older agent that is put back on the device must still read it. What cannot be written so gets a new name.
"""

from __future__ import annotations

from typing import Any

from neo.contract.fields import ContractError, get_size

SCHEMA = 2
KEY = "schema"


class NewerDocument(ContractError):
    """A newer agent wrote it; it is not damaged."""


def check_schema(obj: dict[str, Any], what: str) -> None:
    """Raises NewerDocument, and ContractError for what is no version."""
    version = get_size(obj, KEY, what) if KEY in obj else 1
    if version < 1:
        raise ContractError(f"{what} has schema {version}; versions begin with 1")
    if version > SCHEMA:
        raise NewerDocument(
            f"{what} has schema {version}; this agent reads up to {SCHEMA}",
            hint="a newer agent was here before: install that one again, or push the bundle again",
        )
