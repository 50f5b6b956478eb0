"""The tables, their version, and how an older version becomes this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    insert,
    inspect,
    select,
    update,
)

from neo.contract.versions import NewerFormat
from neo.errors import DatabaseError

#: raised by every change of the tables; ``MIGRATIONS`` has a step to each version above 1
SCHEMA_VERSION = 2

metadata = MetaData()

schema = Table("schema", metadata, Column("version", Integer, nullable=False))

devices = Table(
    "devices",
    metadata,
    Column("fleet", String(64), primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("standing", String(16), nullable=False),
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float),
    Column("broker", String(300), nullable=False),
    Column("key", LargeBinary),
    Column("key_since", Float),
    Column("revoked_at", Float),
    Column("sequence", BigInteger, nullable=False, server_default="0"),
)

documents = Table(
    "documents",
    metadata,
    Column("fleet", String(64), primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("counter", Integer, nullable=False),
    Column("digest", String(80), nullable=False),
    Column("written_at", Float, nullable=False),
)


def _add_sequence(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE devices ADD COLUMN sequence BIGINT DEFAULT '0' NOT NULL")


#: version -> what makes the one before into it
MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {2: _add_sequence}


def prepare(connection: Connection) -> None:
    """Make the tables, or bring them to this version, in the transaction that is open.

    Raises NewerFormat for a database of a later version, DatabaseError for one that is not ours.
    """
    names = set(inspect(connection).get_table_names())
    if not names:
        metadata.create_all(connection)
        connection.execute(insert(schema).values(version=SCHEMA_VERSION))
        return
    if "schema" not in names:
        raise DatabaseError(
            f"the database has the tables {', '.join(sorted(names)[:5])}: it is none of neo-edge",
            hint="name another file with --db, or NEO_DB",
        )
    version = connection.execute(select(schema.c.version)).scalar_one()
    if version > SCHEMA_VERSION:
        raise NewerFormat(
            f"the fleet's database was written by a newer neo-edge: it has format version {version}, this version "
            f"reads up to {SCHEMA_VERSION}",
            hint="upgrade neo-edge here; nothing is damaged",
            details={"what": "fleet database", "version": version, "reads": SCHEMA_VERSION},
        )
    for step in range(version + 1, SCHEMA_VERSION + 1):
        MIGRATIONS[step](connection)
    if version < SCHEMA_VERSION:
        connection.execute(update(schema).values(version=SCHEMA_VERSION))


def is_current(connection: Connection) -> bool:
    """Nothing is to be made and nothing to be brought forward: so no lock for writing is needed."""
    if "schema" not in inspect(connection).get_table_names():
        return False
    return bool(connection.execute(select(schema.c.version)).scalar_one() == SCHEMA_VERSION)
