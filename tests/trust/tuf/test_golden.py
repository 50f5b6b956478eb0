"""What the first version of the TUF formats wrote is still read, and means what it meant."""

from __future__ import annotations

import shutil
from pathlib import Path

from neo.contract.oci import Descriptor
from neo.contract.tuf import TufSet
from neo.trust.tuf.authority import TufAuthority
from neo.trust.tuf.client import TufClient
from neo.trust.tuf.keyfolder import ROLES, KeyFolder
from neo.trust.tuf.trusted import Trusted
from tests.trust.tuf.fleet import Clock, a_release, no_secret

GOLDEN = Path(__file__).parents[2] / "contract" / "golden" / "v2" / "tuf"


def test_a_device_with_the_root_of_then_takes_the_set_of_then(tmp_path: Path) -> None:
    device = TufClient(tmp_path, (GOLDEN / "root.json").read_bytes(), clock=Clock())
    files = TufSet.from_bytes((GOLDEN / "set.bin").read_bytes())
    assert files.to_bytes() == (GOLDEN / "set.bin").read_bytes()
    device.refresh((GOLDEN / "timestamp.json").read_bytes(), files.files)
    assert device.trusted.root_version == 2
    assert device.trusted.releases == {"digits/1-host": a_release("one")}
    assert len(device.trusted.assignment_keys) == 1


def test_the_folder_of_keys_of_then_is_read(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "keys.json", tmp_path)
    keys = KeyFolder(tmp_path, no_secret)
    assert keys.fleet == "default"
    assert {role: len(keys.keys_of(role)) for role in ROLES} == dict.fromkeys(ROLES, 1)
    assert [record.uri for record in keys.records.values() if record.retired] == ["file:private/timestamp-1.pem"]


def test_what_was_installed_then_goes_on(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "installed.json", tmp_path)
    release = a_release("one")
    TufAuthority(tmp_path, Trusted()).verify_installed(
        "digits:1-host", Descriptor("manifest", release.digest, release.size), b""
    )
