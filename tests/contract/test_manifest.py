from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract.fields import ContractError
from neo.contract.manifest import Manifest, parse_path
from tests.contract import strategies


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "./a", "a/.", "a//b", "a/", "a\\b", "a\0b"),
        *("x" * 201, "/".join(["xxx"] * 200)),
    ],
)
def test_a_path_that_could_leave_the_bundle_is_refused(text: str) -> None:
    with pytest.raises(ContractError):
        parse_path(text)


@given(st.text(st.sampled_from("ab./\\\0~ \n"), max_size=12))
def test_a_path_that_is_taken_stays_inside(text: str) -> None:
    try:
        path = parse_path(text)
    except ContractError:
        return
    root = Path("/root-of-bundle")
    assert (root / path).resolve() == root / text
    assert (root / path).is_relative_to(root)


@given(strategies.manifests)
def test_the_reference_names_model_version_and_target(manifest: Manifest) -> None:
    assert manifest.reference == f"{manifest.name}:{manifest.version}-{manifest.target}"
