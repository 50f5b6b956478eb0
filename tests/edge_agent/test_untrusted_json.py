"""What a broker could send to make the agent fail later, when it writes the message to its own record."""

from __future__ import annotations

import pytest

from edge_agent.install.table import InstallRecord
from neo.contract.fields import ContractError
from neo.contract.messages import Assignment, Phase
from neo.contract.oci import Descriptor

DESCRIPTOR = Descriptor("a/b", "sha256:" + "1" * 64, 10)
GOOD = Assignment("id-1", "tiny:1-host", DESCRIPTOR, DESCRIPTOR, "src", 1.0).to_bytes()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"at":1.0', b'"at":NaN'),
        (b'"at":1.0', b'"at":1e999'),
        (b'"at":1.0', b'"at":-Infinity'),
        (b'"at":1.0', b'"at":' + b"9" * 400),
        (b"tiny:1-host", b"\\ud800"),
        (b"tiny:1-host", b"\xed\xa0\x80"),
        (b"a/b", b"\\uDFFF"),
    ],
)
def test_an_assignment_that_could_not_be_written_again_is_refused(old: bytes, new: bytes) -> None:
    spoiled = GOOD.replace(old, new)
    assert spoiled != GOOD
    with pytest.raises(ContractError):
        Assignment.from_bytes(spoiled)


def test_json_in_another_encoding_is_refused() -> None:
    with pytest.raises(ContractError):
        Assignment.from_bytes(GOOD.decode().encode("utf-16"))


@pytest.mark.parametrize("name", ["caf\\u00e9", "\\ud83d\\ude00", "\\\\ud800", "日本"])
def test_a_name_in_any_language_comes_back_from_the_record(name: str) -> None:
    assignment = Assignment.from_bytes(GOOD.replace(b"tiny:1-host", name.encode()))
    assert InstallRecord.from_bytes(InstallRecord(Phase.FETCHING, assignment).to_bytes()).assignment == assignment
