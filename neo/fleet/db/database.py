"""The operator's database: who belongs to a fleet, with which key, and what was last written for each.

The broker is a wire, and what it retains a cache: this is the memory. It is made when it is first used. SQLite in a
file of the user's is the default; any database that SQLAlchemy knows can be named by its URL, SQLite alone is tested.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, bindparam, create_engine, delete, event, insert, select, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from neo.contract.oci import parse_digest
from neo.errors import DatabaseError, DiskFull, NeoError
from neo.fleet.db import schema
from neo.fleet.db.schema import devices, documents
from neo.fleet.keyring import Heard
from neo.fleet.members import Member, Standing, WrittenDocument

BUSY_S = 30.0  # another command writes; it takes milliseconds
_FULL = "database or disk is full"


class FleetDb:
    """All methods take the fleet's name first. Each is one transaction: done and on the disk, or not done.

    Raises DatabaseError, DiskFull. Threads and processes may share one database; not one object after a fork.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name

    @classmethod
    def open(cls, where: str | Path) -> FleetDb:
        """where: a file, which is made with its folder if it is not there, or an SQLAlchemy URL ("postgresql://...").

        Raises NewerFormat, DatabaseError, DiskFull.
        """
        url = _url(where)
        database = cls(_make_engine(url), _shown(url))
        if url.get_backend_name() == "sqlite":
            _make_folder(url)
        with database._reading() as connection:
            current = schema.is_current(connection)
        if not current:
            with database._writing() as connection:
                schema.prepare(connection)
        return database

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> FleetDb:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def roster(self, fleet: str) -> Mapping[str, Member]:
        """Every device that is remembered, the revoked ones too."""
        with self._reading() as connection:
            rows = connection.execute(select(devices).where(devices.c.fleet == fleet).order_by(devices.c.device))
            return {row.device: _member(row) for row in rows}

    def member(self, fleet: str, device: str) -> Member | None:
        with self._reading() as connection:
            row = connection.execute(_device(fleet, device)).one_or_none()
            return None if row is None else _member(row)

    def saw(self, fleet: str, names: Iterable[str], at: float, broker: str = "") -> None:
        """These devices have something at the broker ("host:port") now. New ones come into the roster as seen."""
        wanted = set(names)
        if not wanted:
            return
        with self._writing() as connection:
            known = set(connection.execute(select(devices.c.device).where(devices.c.fleet == fleet)).scalars())
            fresh = [
                _new_row(fleet, name, Standing.SEEN, at, last_seen=at, broker=broker) for name in sorted(wanted - known)
            ]
            if fresh:
                connection.execute(insert(devices), fresh)
            if wanted & known:
                one = update(devices).where(devices.c.fleet == fleet, devices.c.device == bindparam("name"))
                connection.execute(one.values(last_seen=at, broker=broker), [{"name": name} for name in wanted & known])

    def enrol(self, fleet: str, device: str, key: bytes, at: float) -> None:
        """The device has its key from an enrolment: whatever was believed of it before, this key is now.

        A revoked device stays revoked: it has to be forgotten first.
        """
        values = {"standing": Standing.ENROLLED.value, "key": key, "key_since": at, "sequence": 0}
        with self._writing() as connection:
            if connection.execute(_device(fleet, device)).one_or_none() is None:
                connection.execute(insert(devices), [_new_row(fleet, device, Standing.ENROLLED, at) | values])
            else:
                connection.execute(_change(fleet, device).values(values))

    def note_reports(self, fleet: str, heard: Mapping[str, Heard], at: float) -> None:
        """These reports were believed. The first key of a device is pinned; another command may have been faster, then
        its key stays. What has no row gets one.
        """
        if not heard:
            return
        with self._writing() as connection:
            rows = connection.execute(select(devices).where(devices.c.fleet == fleet))
            known = {row.device: _member(row) for row in rows if row.device in heard}
            fresh = [
                _new_row(fleet, name, Standing.SEEN, at, last_seen=at) for name in sorted(heard) if name not in known
            ]
            if fresh:
                connection.execute(insert(devices), fresh)
            one = update(devices).where(devices.c.fleet == fleet, devices.c.device == bindparam("name"))
            unpinned = [name for name in heard if name not in known or known[name].key is None]
            if unpinned:
                pins = [{"name": name, "k": heard[name].key, "n": heard[name].sequence} for name in unpinned]
                values = {"key": bindparam("k"), "key_since": at, "sequence": bindparam("n")}
                connection.execute(one.values(values), pins)
            newer = [
                {"name": name, "n": heard[name].sequence}
                for name, member in known.items()
                if member.key == heard[name].key and member.sequence < heard[name].sequence
            ]
            if newer:
                connection.execute(one.values(sequence=bindparam("n")), newer)

    def revoke(self, fleet: str, device: str, at: float) -> bool:
        """From now on nothing of the device is believed. -> was it in the roster?"""
        with self._writing() as connection:
            return connection.execute(_change(fleet, device).values(revoked_at=at)).rowcount > 0

    def forget(self, fleet: str, device: str) -> bool:
        """Remove the device and its last document; -> was there anything? Its next key is pinned as a new one."""
        with self._writing() as connection:
            rows = [
                connection.execute(delete(table).where(table.c.fleet == fleet, table.c.device == device)).rowcount
                for table in (devices, documents)
            ]
            return any(rows)

    def last_document(self, fleet: str, device: str) -> WrittenDocument | None:
        with self._reading() as connection:
            row = connection.execute(
                select(documents).where(documents.c.fleet == fleet, documents.c.device == device)
            ).one_or_none()
            return None if row is None else _document(row)

    def last_documents(self, fleet: str) -> Mapping[str, WrittenDocument]:
        """Device -> its last document."""
        with self._reading() as connection:
            rows = connection.execute(select(documents).where(documents.c.fleet == fleet))
            return {row.device: _document(row) for row in rows}

    def record_document(self, fleet: str, written: WrittenDocument) -> WrittenDocument:
        """As ``record_documents``, of one."""
        return self.record_documents(fleet, [written])[written.device]

    def record_documents(self, fleet: str, written: Iterable[WrittenDocument]) -> Mapping[str, WrittenDocument]:
        """Note that these are written, before they are. -> what is recorded now, by device: the same, or what another
        command recorded with the same or a higher counter in the meantime, which then stays.
        """
        wanted = {one.device: one for one in written}
        for one in wanted.values():
            parse_digest(one.digest)
        if not wanted:
            return {}
        with self._writing() as connection:
            rows = connection.execute(select(documents).where(documents.c.fleet == fleet))
            known = {row.device: _document(row) for row in rows if row.device in wanted}
            fresh = [one for device, one in wanted.items() if device not in known]
            newer = [one for device, one in wanted.items() if device in known and one.counter > known[device].counter]
            if fresh:
                connection.execute(insert(documents), [_document_row(fleet, one) for one in fresh])
            if newer:
                one_of = update(documents).where(documents.c.fleet == fleet, documents.c.device == bindparam("name"))
                new = one_of.values(counter=bindparam("n"), digest=bindparam("d"), written_at=bindparam("t"))
                connection.execute(
                    new,
                    [{"name": o.device, "n": o.counter, "d": o.digest, "t": o.written_at} for o in newer],
                )
        return known | {one.device: one for one in (*fresh, *newer)}

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._translating("read"), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        engine = self._engine.execution_options(writes=True)
        with self._translating("write"), engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _translating(self, action: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise _explain(error, action, self._name) from error


def _url(where: str | Path) -> URL:
    text = str(where)
    if "://" not in text:
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        return make_url(text)
    except ArgumentError as error:
        raise DatabaseError(
            f"{text.rpartition('@')[2][:80]!r} is no database URL", hint="give a file, or postgresql://user@host/name"
        ) from error


def _shown(url: URL) -> str:
    """Without its password."""
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def _make_folder(url: URL) -> None:
    if url.database in (None, "", ":memory:"):
        raise DatabaseError("a database in memory is forgotten at once", hint="give a file to --db, or NEO_DB")
    folder = Path(str(url.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no space left to make {folder}", hint="free some space and try again") from error
        raise DatabaseError(
            f"cannot make the folder {folder}: {error.strerror}", hint="name another file with --db, or NEO_DB"
        ) from error


def _make_engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        try:
            return create_engine(url)
        except (SQLAlchemyError, ImportError) as error:
            raise DatabaseError(
                f"cannot use {_shown(url)}: {error}", hint="install the driver of that database, or give a file"
            ) from error
    # a connection for each transaction: cheap for a file, and nothing is held between two commands
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_S})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _: Any) -> None:
    """WAL: readers do not wait for a writer. FULL: what is committed is on the disk."""
    # the sqlite3 module would begin transactions by itself, and later than they have to begin
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    if writes and connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    # a transaction that reads first and then writes would fail where another one wrote in between
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _explain(error: SQLAlchemyError, action: str, name: str) -> NeoError:
    said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    if _FULL in said:
        return DiskFull(f"no space left to write the fleet's database {name}", hint="free some space and try again")
    for text, hint in _HINTS.items():
        if text in said:
            return DatabaseError(f"cannot {action} the fleet's database {name}: {said}", hint=hint)
    return DatabaseError(
        f"cannot {action} the fleet's database {name}: {said}", hint="name another with --db or NEO_DB"
    )


_HINTS = {
    "readonly": "make it writable, or name another file with --db or NEO_DB",
    "unable to open": "check that the folder is there and writable, or name another file with --db or NEO_DB",
    "locked": "another neo command has been writing to it for long; try again when it has ended",
    "not a database": "bring it back from a backup, or move it away: a new one is made, and keys are pinned anew",
    "malformed": "bring it back from a backup, or move it away: a new one is made, and keys are pinned anew",
}


def _device(fleet: str, device: str) -> Select[Any]:
    return select(devices).where(devices.c.fleet == fleet, devices.c.device == device)


def _change(fleet: str, device: str) -> Any:
    return update(devices).where(devices.c.fleet == fleet, devices.c.device == device)


def _new_row(
    fleet: str, device: str, standing: Standing, at: float, *, last_seen: float | None = None, broker: str = ""
) -> dict[str, Any]:
    return {
        "fleet": fleet,
        "device": device,
        "standing": standing.value,
        "first_seen": at,
        "last_seen": last_seen,
        "broker": broker,
        "key": None,
        "key_since": None,
        "revoked_at": None,
    }


def _document_row(fleet: str, one: WrittenDocument) -> dict[str, Any]:
    return {
        "fleet": fleet,
        "device": one.device,
        "counter": one.counter,
        "digest": one.digest,
        "written_at": one.written_at,
    }


def _member(row: Row[Any]) -> Member:
    return Member(
        device=row.device,
        standing=Standing(row.standing),
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        broker=row.broker,
        key=row.key,
        key_since=row.key_since,
        revoked_at=row.revoked_at,
        sequence=row.sequence,
    )


def _document(row: Row[Any]) -> WrittenDocument:
    return WrittenDocument(row.device, row.counter, row.digest, row.written_at)
