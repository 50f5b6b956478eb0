from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract.fields import ContractError
from neo.contract.inference import decode_tensors, encode_tensors, spec_to_v2
from neo.contract.labels import BY_POSITION, BY_VALUE, MAX_LABEL_BYTES, OutputLabels
from neo.contract.manifest import Manifest
from neo.contract.tensors import TensorSpec
from tests.contract import strategies
from tests.store.bundles import manifest_of

BY_INDEX = OutputLabels("index", BY_VALUE, ("cat", "dog"))


def test_numbers_of_classes_become_words_and_others_nothing() -> None:
    assert BY_INDEX.of(np.array([[1, 0], [-1, 2]])) == ["dog", "cat", None, None]
    assert BY_INDEX.of(np.array([0.0, np.nan], np.float32)) == [None, None]
    assert OutputLabels("p", BY_POSITION, ("a", "b")).of(np.zeros((2, 3))) == ["a", "b", None] * 2
    assert OutputLabels("p", BY_POSITION, ("a",)).of(np.array(0.5)) == ["a"]


@given(
    st.sampled_from(["int64", "uint8", "float32", "bool"]), st.lists(st.integers(0, 4), max_size=3), strategies.texts
)
def test_any_array_has_a_label_or_none_for_every_element(dtype: str, shape: list[int], text: str) -> None:
    array = np.zeros(shape, dtype)
    for by in (BY_VALUE, BY_POSITION):
        assert len(OutputLabels("y", by, (text,)).of(array)) == array.size


@pytest.mark.parametrize("binary", [True, False])
def test_an_answer_carries_labels_that_clients_without_them_do_not_see(binary: bool) -> None:
    tensors = {"index": np.array([[1, 0]]), "score": np.array([[0.9, 0.1]], np.float32)}
    frame, length = encode_tensors("outputs", tensors, {}, binary=binary, labels={"index": BY_INDEX})
    arrays, header = decode_tensors("outputs", frame, length)
    assert np.array_equal(arrays["index"], tensors["index"])
    assert header["outputs"][0]["parameters"]["labels"] == ["dog", "cat"]
    assert "labels" not in header["outputs"][1].get("parameters", {})


def test_metadata_lists_all_labels_of_an_output() -> None:
    spec = TensorSpec("index", "int64", (1, 2))
    assert spec_to_v2(spec, [BY_INDEX])["parameters"] == {"labels": ["cat", "dog"], "labels_by": "value"}
    assert "parameters" not in spec_to_v2(TensorSpec("score", "float32", (1, 2)), [BY_INDEX])


def test_labels_change_nothing_else_of_a_manifest() -> None:
    plain = json.loads(manifest_of().to_bytes())
    labelled = replace(manifest_of(), labels=(BY_INDEX,))
    assert Manifest.from_bytes(labelled.to_bytes()) == labelled
    written = json.loads(labelled.to_bytes())
    assert written == plain | {"labels": [BY_INDEX.to_json()]}
    assert written != plain


@pytest.mark.parametrize("value", [{}, {"output": "y", "by": "row", "texts": []}, {"output": "y", "by": "value"}, 3])
def test_labels_that_are_none_are_refused(value: object) -> None:
    with pytest.raises(ContractError):
        OutputLabels.from_json(value)


def test_there_is_a_limit_to_what_labels_take() -> None:
    with pytest.raises(ContractError, match="at most"):
        OutputLabels("y", BY_VALUE, ("x" * 1000,) * (MAX_LABEL_BYTES // 1000 + 1))
