"""The operator's database: what is said to be written is there, whoever else writes, and faults say what to do."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import event, insert

from neo.contract.oci import digest_of
from neo.contract.versions import NewerFormat
from neo.errors import DatabaseError, DiskFull
from neo.fleet.db import FleetDb, Standing, WrittenDocument, schema
from neo.fleet.keyring import Heard

GOLDEN = Path(__file__).parent / "golden"
KEY, OTHER_KEY = b'{"keyid": "one"}', b'{"keyid": "two"}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "fleet.db"


@pytest.fixture
def db(path: Path):
    with FleetDb.open(path) as database:
        yield database


def written(device: str, counter: int, text: str = "a") -> WrittenDocument:
    return WrittenDocument(device, counter, digest_of(text.encode()), 100.0 + counter)


def test_devices_that_were_seen_are_remembered_by_the_next_command(path: Path):
    with FleetDb.open(path) as first:
        first.saw("home", ["kitchen", "cellar"], 10.0)
    with FleetDb.open(path) as second:
        second.saw("home", ["kitchen"], 20.0)
        roster = second.roster("home")
        assert second.roster("work") == {}
    assert list(roster) == ["cellar", "kitchen"]
    assert (roster["kitchen"].first_seen, roster["kitchen"].last_seen) == (10.0, 20.0)
    assert (roster["cellar"].first_seen, roster["cellar"].last_seen) == (10.0, 10.0)
    assert {member.standing for member in roster.values()} == {Standing.SEEN}


def note(db: FleetDb, device: str, key: bytes, at: float) -> None:
    """A report with this key was believed."""
    db.note_reports("home", {device: Heard(key, int(at))}, at)


def key_of(db: FleetDb, device: str) -> bytes | None:
    member = db.member("home", device)
    assert member is not None
    return member.key


def test_ten_thousand_devices_are_noted_in_one_transaction(db: FleetDb):
    names = [f"d{n}" for n in range(10_000)]
    db.saw("home", names, 1.0)
    db.saw("home", [*names, "new"], 2.0)
    roster = db.roster("home")
    assert len(roster) == 10_001
    assert {member.last_seen for member in roster.values()} == {2.0}


def test_the_first_key_is_pinned_and_another_is_not_believed(db: FleetDb):
    note(db, "kitchen", KEY, 1.0)
    note(db, "kitchen", KEY, 2.0)
    note(db, "kitchen", OTHER_KEY, 3.0)
    assert key_of(db, "kitchen") == KEY
    assert db.member("work", "kitchen") is None
    member = db.member("home", "kitchen")
    assert member is not None
    assert (member.key_since, member.standing) == (1.0, Standing.SEEN)


def test_an_enrolment_replaces_what_was_pinned_at_first_sight(db: FleetDb):
    note(db, "kitchen", OTHER_KEY, 1.0)
    db.enrol("home", "kitchen", KEY, 2.0)
    db.enrol("home", "cellar", OTHER_KEY, 2.0)
    note(db, "kitchen", OTHER_KEY, 3.0)
    assert key_of(db, "kitchen") == KEY
    assert {member.standing for member in db.roster("home").values()} == {Standing.ENROLLED}


def test_a_revoked_device_stays_in_the_roster_and_says_since_when(db: FleetDb):
    db.enrol("home", "kitchen", KEY, 1.0)
    assert db.revoke("home", "kitchen", 5.0)
    assert db.roster("home")["kitchen"].revoked_at == 5.0
    db.enrol("home", "kitchen", OTHER_KEY, 6.0)
    assert db.roster("home")["kitchen"].revoked_at == 5.0
    assert db.forget("home", "kitchen")
    db.enrol("home", "kitchen", KEY, 7.0)
    assert db.roster("home")["kitchen"].revoked_at is None
    assert not db.revoke("home", "attic", 5.0)
    assert "attic" not in db.roster("home")


def test_a_forgotten_device_is_a_new_one_afterwards(db: FleetDb):
    note(db, "kitchen", KEY, 1.0)
    db.record_document("home", written("kitchen", 7))
    assert db.forget("home", "kitchen")
    assert not db.forget("home", "kitchen")
    assert db.last_document("home", "kitchen") is None
    note(db, "kitchen", OTHER_KEY, 2.0)
    assert key_of(db, "kitchen") == OTHER_KEY


def test_a_counter_only_rises_and_the_first_writer_of_a_number_keeps_it(db: FleetDb):
    first = written("kitchen", 3, "mine")
    assert db.record_document("home", first) == first
    assert db.record_document("home", written("kitchen", 3, "theirs")) == first
    assert db.record_document("home", written("kitchen", 2, "theirs")) == first
    later = written("kitchen", 4, "theirs")
    assert db.record_documents("home", [later, written("cellar", 1)]) == {
        "kitchen": later,
        "cellar": written("cellar", 1),
    }
    assert db.last_documents("home") == {"kitchen": later, "cellar": written("cellar", 1)}
    assert db.last_document("home", "attic") is None


def _claim(path: str, name: int, count: int) -> list[int]:
    """Counters that this process got for itself, one after the other."""
    won = []
    with FleetDb.open(path) as database:
        for _ in range(count):
            last = database.last_document("home", "kitchen")
            mine = written("kitchen", 1 if last is None else last.counter + 1, f"{name}")
            if database.record_document("home", mine) == mine:
                won.append(mine.counter)
    return won


def test_two_commands_at_once_never_get_the_same_counter(path: Path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        won = pool.starmap(_claim, [(str(path), name, 40) for name in range(3)])
    counters = [counter for one in won for counter in one]
    assert len(counters) == len(set(counters)) > 40


def test_two_commands_may_make_the_database_at_once(path: Path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(_claim, [(str(path), name, 1) for name in range(4)])
    with FleetDb.open(path) as database:
        assert database.last_document("home", "kitchen") is not None


def test_a_killed_writer_leaves_what_it_was_told_is_written(path: Path):
    script = (
        "import sys\nfrom tests.fleet.test_db import FleetDb, written\n"
        "db = FleetDb.open(sys.argv[1])\n"
        "for n in range(1, 10000):\n"
        "    db.record_document('home', written('kitchen', n))\n"
        "    print(n, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(20)]
        process.kill()
        said += [int(line) for line in process.stdout.read().split()]
    with FleetDb.open(path) as database:
        last = database.last_document("home", "kitchen")
    assert last is not None
    assert last.counter in {said[-1], said[-1] + 1}


def golden(path: Path, version: int = 1) -> None:
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as connection:
        connection.executescript((GOLDEN / f"fleet-v{version}.sql").read_text(encoding="utf-8"))
    connection.close()


def test_a_database_of_version_1_is_read(path: Path):
    golden(path)
    with FleetDb.open(path) as database:
        roster = database.roster("home")
        assert roster["kitchen"].key == KEY
        assert roster["kitchen"].standing is Standing.ENROLLED
        assert roster["cellar"].revoked_at == 30.0
        assert roster["kitchen"].sequence == 0
        database.note_reports("home", {"kitchen": Heard(KEY, 1 << 62)}, 35.0)
        assert database.roster("home")["kitchen"].sequence == 1 << 62
        assert database.last_document("home", "kitchen") == written("kitchen", 3)
        database.saw("home", ["attic"], 40.0)
        assert set(database.roster("home")) == {"attic", "cellar", "kitchen"}


def test_a_database_of_version_2_is_read(path: Path):
    golden(path, 2)
    with FleetDb.open(path) as database:
        roster = database.roster("home")
        assert (roster["cellar"].key, roster["cellar"].sequence) == (OTHER_KEY, 7)
        assert (roster["cellar"].broker, roster["cellar"].revoked_at) == ("broker:1883", 30.0)
        assert (roster["kitchen"].key, roster["kitchen"].standing) == (KEY, Standing.ENROLLED)
        assert database.last_document("home", "kitchen") == written("kitchen", 3)


def test_a_database_of_a_later_version_is_left_alone_and_said_to_be_so(path: Path):
    golden(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE schema SET version = {schema.SCHEMA_VERSION + 1}")  # noqa: S608  a number of ours
    connection.close()
    before = path.read_bytes()
    with pytest.raises(NewerFormat, match="newer neo-edge") as caught:
        FleetDb.open(path)
    assert "upgrade" in caught.value.hint
    assert path.read_bytes() == before


def test_a_database_of_an_earlier_version_is_brought_forward_once(path: Path, monkeypatch: pytest.MonkeyPatch):
    golden(path)
    steps = []

    def step(connection) -> None:
        steps.append(connection)
        connection.execute(
            insert(schema.devices),
            [{"fleet": "home", "device": "x", "standing": "seen", "first_seen": 0, "broker": ""}],
        )

    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", {**schema.MIGRATIONS, schema.SCHEMA_VERSION: step})
    for _ in range(2):
        with FleetDb.open(path) as database:
            assert "x" in database.roster("home")
    assert len(steps) == 1


def test_a_file_of_something_else_is_not_touched(path: Path):
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    with pytest.raises(DatabaseError, match="songs") as caught:
        FleetDb.open(path)
    assert "--db" in caught.value.hint


@pytest.mark.parametrize("damage", [b"no database at all, but text\n" * 100, b"SQLite format 3\0" + bytes(8192)])
def test_a_damaged_file_says_what_to_do(path: Path, damage: bytes):
    path.parent.mkdir()
    path.write_bytes(damage)
    with pytest.raises(DatabaseError) as caught:
        FleetDb.open(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert path.read_bytes() == damage


def test_a_place_that_cannot_be_one_says_so(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("")
    for where in (
        file / "fleet.db",
        tmp_path,
        "sqlite://",
        "nosuch://host/name",
        "postgresql+nosuch://u:secret@h/n",
        "://",
    ):
        with pytest.raises(DatabaseError) as caught:
            FleetDb.open(where)
        assert caught.value.hint
        assert "secret" not in caught.value.message


def test_a_full_disk_is_told_as_one(path: Path):
    with FleetDb.open(path) as database:
        event.listen(database._engine, "connect", lambda raw, _: raw.execute("PRAGMA max_page_count = 8"))
        with pytest.raises(DiskFull, match="no space left") as caught:
            database.saw("home", [f"device-{n}" for n in range(5000)], 1.0)
        assert caught.value.hint
