"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from neo.fleet.db import FleetDb
    from neo.store import Store


class PathArgument(click.Path):
    """A file or folder as a Path. An empty one, as from an unset variable in a script, is not the current folder."""

    def __init__(self, *, exists: bool = False, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(exists=exists, file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name of a file or folder is missing", param, ctx)
        return super().convert(value, param, ctx)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
store_option = click.option(
    "--store",
    "store",
    type=PathArgument(file_okay=False),
    help="The folder with bundles (an OCI image layout). [default: NEO_STORE, or the user's data folder]",
)
key_option = click.option(
    "--key",
    "key",
    type=PathArgument(dir_okay=False),
    help="The operator's private key. [default: NEO_KEY, or operator.key in the user's configuration folder]",
)
db_option = click.option(
    "--db",
    "db",
    metavar="FILE|URL",
    help="The operator's database: the roster of the fleet. [default: NEO_DB, or fleet.db in the user's data folder]",
)
rate_limit_option = click.option(
    "--rate-limit",
    "max_bytes_per_s",
    type=click.FloatRange(min=0.01),
    callback=lambda _context, _parameter, megabytes: None if megabytes is None else megabytes * 1e6,
    metavar="MB/S",
    help="Publish at most so many megabytes of the store a second. [default: what the broker takes]",
)
threads_option = click.option("--threads", type=click.IntRange(1, 1024), help="Threads to use. [default: all cores]")


def flag(name: str) -> str:
    """How the parameter with this name stands on the command line that runs: "tune_s" -> "--tune"."""
    parameters = click.get_current_context().command.params
    return next(
        (found.opts[-1] for found in parameters if found.name == name and isinstance(found, click.Option)), name
    )


def open_store(path: Path | None, *, create: bool = False) -> Store:
    """The store at path, or the user's own. create: make it if there is none.

    Raises StoreError for a folder that is no store: what only reads leaves no files behind.
    """
    from neo.settings import store_path
    from neo.store import Store

    return Store(path or store_path(), create=create)


def open_fleet_db(where: str | None) -> FleetDb:
    """The database at where, or the user's own; made if there is none. Raises what ``FleetDb.open`` does,
    MissingDependency without SQLAlchemy.
    """
    from neo.errors import MissingDependency
    from neo.settings import fleet_db

    try:
        from neo.fleet.db import FleetDb
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("sqlalchemy"):
            raise
        raise MissingDependency(
            "the fleet's database needs SQLAlchemy", hint="pip install 'neo-edge[fleet]'"
        ) from error
    return FleetDb.open(where or fleet_db())
