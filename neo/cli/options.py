"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from neo.store import Store

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
store_option = click.option(
    "--store",
    "store",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="NEO_STORE",
    help="The folder with bundles (an OCI image layout). [default: the user's data folder]",
)
key_option = click.option(
    "--key",
    "key",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="NEO_KEY",
    help="The operator's private key. [default: operator.key in the user's configuration folder]",
)
threads_option = click.option("--threads", type=click.IntRange(1, 1024), help="Threads to use. [default: all cores]")


def open_store(path: Path | None, *, create: bool = True) -> Store:
    """The store at path, or the user's own. create: make the one at path if there is none; the user's own is made."""
    from neo.settings import store_path
    from neo.store import Store

    return Store(path or store_path(), create=create or path is None)
