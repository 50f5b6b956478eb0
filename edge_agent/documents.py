"""The version of every document that the agent keeps on disk, beside bundles and messages, which have their own.

1 is what agents wrote before they said a version. A document of a later version may only get more keys, never fewer or
others: an older agent that is put back on the device must still read it. What cannot be written so gets a new name.
"""

from __future__ import annotations

from typing import Any

from neo.contract.versions import VERSION_KEY, require_version

SCHEMA = 2
KEY = VERSION_KEY


def check_schema(obj: dict[str, Any], what: str) -> None:
    """Raises NewerFormat for a document of a newer agent, ContractError for what is no version."""
    require_version(obj, SCHEMA, what)
