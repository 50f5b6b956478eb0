"""A symbol in JSON, and its parameters beside it: a list of arrays, or a zip file of them."""

from __future__ import annotations

from neo.frontends.contents import Contents

_PARAMS_MAGIC = (0x112).to_bytes(8, "little")


def recognise(contents: Contents) -> str | None:
    if contents.is_zip:
        arrays = contents.path.suffix == ".params" and all(name.endswith(".npy") for name in contents.names)
        return "mxnet" if arrays and contents.names else None
    symbol = contents.head.lstrip()
    if contents.head.startswith(_PARAMS_MAGIC) or (
        symbol.startswith(b"{") and b'"nodes"' in symbol and b'"op"' in symbol
    ):
        return "mxnet"
    return None
