from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neo.errors import TrustError
from neo.trust import generate_key, load_public_keys, load_signer
from neo.trust.keys import load_or_make_signer, public_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    generate_key(tmp_path / "operator.key")
    return tmp_path / "operator.key"


def test_a_new_key_is_private_and_its_public_half_is_not(tmp_path: Path) -> None:
    path = tmp_path / "made" / "operator.key"
    made = generate_key(path)
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert mode(public_path(path)) & 0o444 == 0o444
    (loaded,) = load_public_keys([public_path(path)])
    assert loaded == made == load_signer(path).public_key
    assert b"PRIVATE" not in public_path(path).read_bytes()
    assert sorted(file.name for file in path.parent.iterdir()) == ["operator.key", "operator.key.pub"]


def test_no_key_is_overwritten(key: Path) -> None:
    before = [path.read_bytes() for path in (key, public_path(key))]
    with pytest.raises(TrustError, match="exists already"):
        generate_key(key)
    assert [path.read_bytes() for path in (key, public_path(key))] == before


def test_a_public_half_whose_private_half_is_elsewhere_is_not_overwritten(key: Path) -> None:
    before = public_path(key).read_bytes()
    key.unlink()
    for make in (generate_key, load_or_make_signer):
        with pytest.raises(TrustError, match="its private key is not"):
            make(key)
    assert public_path(key).read_bytes() == before
    assert not key.exists()


def test_a_key_is_made_once_and_then_kept(tmp_path: Path) -> None:
    made = load_or_make_signer(tmp_path / "k")
    assert load_or_make_signer(tmp_path / "k").public_key == made.public_key


def test_a_pair_that_was_cut_short_is_completed(key: Path) -> None:
    before = public_path(key).read_bytes()
    public_path(key).unlink()
    load_or_make_signer(key)
    assert public_path(key).read_bytes() == before


def test_a_key_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TrustError, match="cannot make the folder"):
        generate_key(tmp_path / "file" / "deeper" / "k")
    for make in (generate_key, load_or_make_signer):
        for length in (245, 252, 300):  # too long with .pub and its temporary ending, with .pub, by itself
            with pytest.raises(TrustError, match="cannot write the key"):
                make(tmp_path / ("k" * length))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TrustError) as raised:
        load_signer(tmp_path / "k")
    assert "neo keys generate" in raised.value.hint
    with pytest.raises(TrustError) as raised:
        load_public_keys([tmp_path / "k.pub"])
    assert "neo keys show" in raised.value.hint
    with pytest.raises(TrustError, match="cannot read"):
        load_signer(tmp_path)


def test_trusting_nobody_is_no_choice() -> None:
    with pytest.raises(TrustError) as raised:
        load_public_keys([])
    assert "--trust" in raised.value.hint


def test_a_private_key_is_not_given_to_a_device(key: Path) -> None:
    with pytest.raises(TrustError, match="is a private key") as raised:
        load_public_keys([key])
    assert str(public_path(key)) in raised.value.hint


def test_a_public_key_signs_nothing(key: Path) -> None:
    with pytest.raises(TrustError, match="no private key") as raised:
        load_signer(public_path(key))
    assert ".pub" in raised.value.hint


@pytest.mark.parametrize(
    "other",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 2048),
        dsa.generate_private_key(2048),
        ed448.Ed448PrivateKey.generate(),
        x25519.X25519PrivateKey.generate(),
    ],
    ids=lambda key: type(key).__name__,
)
def test_a_key_of_another_kind_is_refused(tmp_path: Path, other: Ed25519PrivateKey) -> None:
    (tmp_path / "k").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(TrustError):
        load_signer(tmp_path / "k")


def test_an_encrypted_key_is_refused(tmp_path: Path) -> None:
    protected = BestAvailableEncryption(b"secret")
    data = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protected)
    (tmp_path / "k").write_bytes(data)
    with pytest.raises(TrustError) as raised:
        load_signer(tmp_path / "k")
    assert "unencrypted" in raised.value.hint


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_rubbish_is_no_key(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "k").write_bytes(data)
    for load in (load_signer, lambda path: load_public_keys([path])):
        with pytest.raises(TrustError):
            load(tmp_path / "k")


@pytest.mark.parametrize(
    "change",
    [
        {"keytype": "rsa", "scheme": "rsassa-pss-sha256"},
        {"keytype": "ed25519", "scheme": "rsassa-pss-sha256"},
        {"keyid": 7},
        {"keyval": {}},
        {"keyval": []},
        {"keyval": {"public": 7}},
        {"keyval": {"public": "abc"}},
        {"keyval": {"public": "zz" * 32}},
        {"keyval": {"public": "ab" * 33}},
    ],
    ids=str,
)
def test_a_changed_public_key_file_is_refused(key: Path, change: dict[str, object]) -> None:
    path = public_path(key)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
    with pytest.raises(TrustError):
        load_public_keys([path])


def test_an_endless_file_is_read_a_little() -> None:
    for load in (load_signer, lambda path: load_public_keys([path])):
        with pytest.raises(TrustError):
            load(Path("/dev/zero"))
