"""A document of a later version is told from a damaged one, whatever the document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from neo.contract.fields import ContractError
from neo.contract.manifest import BUNDLE_TYPE, CONFIG_TYPE
from neo.contract.messages import Chunk, DesiredState, NumberedChunk, Report
from neo.contract.oci import Descriptor, ImageIndex, ImageManifest
from neo.contract.versions import VERSION_KEY, NewerFormat, check_media_type, read_versioned
from neo.engines.tvm.cpu.tuning.cache import Cache, read_documents
from neo.errors import BundleError, NeoError, TrustError
from neo.runtime import load
from neo.runtime.engine_folder import ENGINE_FILE, EngineFolder
from neo.store.bundles import parse_image
from neo.trust import verify_statement
from neo.trust.statement import PAYLOAD_TYPE
from tests.contract import strategies

# what is OCI's own has OCI's version
OTHERS = {ImageManifest, ImageIndex, Chunk, NumberedChunk}
OWN = sorted(strategies.DOCUMENTS.keys() - OTHERS, key=lambda cls: cls.__name__)
# the type of a signed payload has its version: see tests/trust
UNSIGNED = [document for document in OWN if document not in (DesiredState, Report)]
GOLDEN = Path(__file__).parent / "golden" / "v1"
READERS = {1: lambda obj: ("one", obj), 2: lambda obj: ("two", obj)}


@pytest.mark.parametrize("document", UNSIGNED)
@given(data=st.data())
def test_every_document_says_its_version_and_a_later_one_is_refused_as_such(document: Any, data: st.DataObject) -> None:
    obj = json.loads(data.draw(strategies.DOCUMENTS[document]).to_bytes())
    newest = obj[VERSION_KEY]
    obj[VERSION_KEY] = newest + data.draw(st.integers(1, 1000))
    with pytest.raises(NewerFormat, match=f"written by a newer neo-edge.*reads up to {newest}") as raised:
        document.from_bytes(json.dumps(obj).encode())
    assert "upgrade" in raised.value.hint
    assert raised.value.details["version"] == obj[VERSION_KEY]


@pytest.mark.parametrize("document", OWN)
@given(data=st.data())
def test_what_is_unknown_within_a_version_is_passed_over(document: Any, data: st.DataObject) -> None:
    value = data.draw(strategies.DOCUMENTS[document])
    obj = json.loads(value.to_bytes())
    assert document.from_bytes(json.dumps(obj | {"of a later day": {"x": [1]}}).encode()) == value


def test_each_version_has_its_reader() -> None:
    assert read_versioned({VERSION_KEY: 1}, READERS, "it")[0] == "one"
    assert read_versioned({VERSION_KEY: 2}, READERS, "it")[0] == "two"
    assert read_versioned({}, READERS, "it", unsaid=1)[0] == "one"


@pytest.mark.parametrize("version", [0, -1, 1 << 40, 10**400, "2", 2.0, None, True, [2]])
def test_what_is_no_version_is_damaged_and_not_newer(version: object) -> None:
    with pytest.raises(ContractError) as raised:
        read_versioned({VERSION_KEY: version}, READERS, "it", unsaid=1)
    assert not isinstance(raised.value, NewerFormat)
    with pytest.raises(ContractError, match="should be int, found nothing"):
        read_versioned({}, READERS, "it")


def test_a_version_that_is_not_read_any_more_says_which_are() -> None:
    with pytest.raises(ContractError, match="has format version 1; this version reads 2 to 2") as raised:
        read_versioned({VERSION_KEY: 1}, {2: READERS[2]}, "it")
    assert not isinstance(raised.value, NewerFormat)


def test_a_newer_format_comes_back_over_a_wire_as_what_it_is() -> None:
    error = NewerFormat("x", hint="y", details={"version": 3})
    back = NeoError.from_json(error.to_json())
    assert type(back) is NewerFormat
    assert (back.exit_code, back.details) == (34, {"version": 3})


@pytest.mark.parametrize("folder", ["engine-onnxruntime", "engine-tvm", "engine-segments"])
def test_an_engine_of_a_later_version_is_no_damaged_one(tmp_path: Path, folder: str) -> None:
    obj = json.loads((GOLDEN / folder / ENGINE_FILE).read_bytes())
    (tmp_path / ENGINE_FILE).write_text(json.dumps(obj | {VERSION_KEY: 3}))
    with pytest.raises(NewerFormat, match="version 3, this version reads up to 2"):
        EngineFolder.read(tmp_path)
    (tmp_path / ENGINE_FILE).write_text(json.dumps(obj | {VERSION_KEY: "3"}))
    with pytest.raises(BundleError):
        EngineFolder.read(tmp_path)


def test_a_bundle_of_a_later_version_is_no_damaged_one(tmp_path: Path) -> None:
    obj = json.loads((GOLDEN / "manifest-fp32.json").read_bytes())
    (tmp_path / "manifest.json").write_text(json.dumps(obj | {"schema": 3}))
    with pytest.raises(NewerFormat, match="version 3, this version reads up to 2"):
        load(tmp_path)


@pytest.mark.parametrize(("bundle", "config"), [(BUNDLE_TYPE.replace("v1", "v2"), CONFIG_TYPE), (BUNDLE_TYPE, "v12")])
def test_an_artifact_of_a_later_version_is_no_strange_one(bundle: str, config: str) -> None:
    config = CONFIG_TYPE.replace("v1", config) if config.startswith("v") else config
    image = ImageManifest(bundle, Descriptor.of(b"", config), ())
    with pytest.raises(NewerFormat, match="newer neo-edge"):
        parse_image(image.to_bytes())


@pytest.mark.parametrize(
    "found",
    ["", "x", BUNDLE_TYPE, BUNDLE_TYPE[:-1], BUNDLE_TYPE[:-1] + "0", BUNDLE_TYPE + "0" * 20, CONFIG_TYPE, "a.v9"],
)
def test_a_media_type_that_is_no_later_one_is_left_to_the_reader(found: str) -> None:
    check_media_type(found, BUNDLE_TYPE, "it")


def test_a_signature_of_a_later_version_is_believed_to_be_one_if_a_trusted_key_made_it() -> None:
    signer, stranger = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()

    def verify(payload_type: str) -> None:
        envelope = Envelope(b"{}", payload_type, {})
        envelope.sign(signer)
        verify_statement(json.dumps(envelope.to_dict()).encode(), keys)

    keys = [signer.public_key]
    with pytest.raises(NewerFormat, match="newer neo-edge"):
        verify(PAYLOAD_TYPE.replace("v1", "v2"))
    with pytest.raises(TrustError, match="text/plain"):
        verify("text/plain")
    keys = [stranger.public_key]
    with pytest.raises(TrustError, match="not trusted here"):
        verify(PAYLOAD_TYPE.replace("v1", "v2"))


def test_a_chunk_of_a_later_version_is_no_damaged_one() -> None:
    chunk = (GOLDEN / "chunk.bin").read_bytes()
    with pytest.raises(NewerFormat, match="NEO2"):
        Chunk.from_bytes(b"NEO2" + chunk[4:])
    with pytest.raises(ContractError) as raised:
        Chunk.from_bytes(b"OLD2" + chunk[4:])
    assert not isinstance(raised.value, NewerFormat)


def test_measurements_of_a_later_version_are_neither_used_nor_overwritten(tmp_path: Path) -> None:
    (document,) = read_documents(GOLDEN / "tuning.json")
    cache = Cache(tmp_path / "own", tmp_path / "shipped")
    cache.add(document)
    (file,) = (tmp_path / "own").glob("*.json")
    newer = file.read_bytes().replace(b'"format":2', b'"format":3')
    file.write_bytes(newer)
    with pytest.raises(NewerFormat, match="newer neo-edge"):
        cache.add(document)
    assert file.read_bytes() == newer
