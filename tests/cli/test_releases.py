"""Commands that take a version with several variants as well as one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neo.cli.__main__ import main
from neo.fleet.assign import signatures_by_variant
from neo.store import Store
from neo.store.releases import find_release
from neo.trust import generate_key
from tests.store.bundles import add_bundle

BOTH = ["digits:1-host", "digits:1-raspberry-pi-4"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    for target in ("host", "raspberry-pi-4"):
        add_bundle(made, tmp_path / target, target=target)
    return made


def run(capsys: pytest.CaptureFixture[str], store: Store, *arguments: str) -> tuple[int, dict]:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--store", str(store.root), "--json"])
    assert isinstance(caught.value.code, int)
    return caught.value.code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("reference", ["digits", "digits:1"])
def test_a_version_is_signed_with_all_its_variants(store, tmp_path, capsys, reference):
    generate_key(tmp_path / "key")
    code, said = run(capsys, store, "keys", "sign", reference, "--key", str(tmp_path / "key"))
    assert (code, [signed["reference"] for signed in said["signed"]]) == (0, BOTH)
    release = find_release(store, reference)
    assert set(signatures_by_variant(release, store)) == {variant.digest for variant in release.variants}


def test_a_version_is_shown_as_a_list_and_a_variant_in_full(store, capsys):
    code, said = run(capsys, store, "inspect", "digits:1")
    assert (code, [bundle["reference"] for bundle in said["bundles"]]) == (0, BOTH)
    code, said = run(capsys, store, "inspect", "digits:1-host")
    assert (code, said["reference"], len(said["files"])) == (0, "digits:1-host", 3)
    code, said = run(capsys, store, "inspect", "digits:7")
    assert (code, said["hint"]) == (30, f"it holds: {', '.join(BOTH)}")
