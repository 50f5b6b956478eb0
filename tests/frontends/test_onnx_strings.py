"""ONNX models that take or give strings, from the file to samples that are worth something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from neo.errors import InputSpecError, ParityError
from neo.frontends.samples import WORDS
from neo.frontends.words import known_words
from tests.frontends.conftest import Convert
from tests.models import IR_VERSION, colours


def text_model(path: Path, *nodes: onnx.NodeProto, gives: int = TensorProto.STRING) -> Path:
    """Words string (3) -> y (3), of the type gives."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("words", TensorProto.STRING, [3])],
        [helper.make_tensor_value_info("y", gives, [3])],
        [numpy_helper.from_array(np.array(["yes"], object), "yes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=IR_VERSION), path)
    return path


def test_an_encoder_is_tried_with_the_words_that_it_knows(tmp_path: Path, through_sandbox: Convert) -> None:
    found = through_sandbox(colours(tmp_path / "m.onnx"))
    assert [str(spec) for spec in (*found.inputs, *found.outputs)] == [
        "words=string[1,2]",
        "number=int64[1,2]",
        "opposite=string[1,2]",
    ]
    words = [word for sample in found.samples for word in sample.inputs["words"].ravel()]
    assert set(words) == {"red", "green"}
    assert {number for sample in found.samples for number in sample.outputs["number"].ravel()} == {0, 1}


def test_a_golden_file_holds_numpys_own_text(tmp_path: Path, through_sandbox: Convert) -> None:
    golden, wrong = tmp_path / "golden.npz", tmp_path / "wrong.npz"
    arrays = {"words": np.array([["red", "other"]]), "number": np.array([[0, 9]])}
    np.savez(golden, **arrays, opposite=np.array([["green", "?"]]))
    (sample,) = through_sandbox(colours(tmp_path / "m.onnx"), golden=golden).samples
    assert sample.inputs["words"].tolist() == [["red", "other"]]
    assert sample.outputs["opposite"].tolist() == [["green", "?"]]
    np.savez(wrong, **arrays, opposite=np.array([["green", "!"]]))
    with pytest.raises(ParityError, match=r"'opposite' of the converted model has '\?' instead of '!'"):
        through_sandbox(tmp_path / "m.onnx", golden=wrong)
    np.savez(wrong, **arrays, opposite=np.zeros((1, 2)))
    with pytest.raises(InputSpecError, match="'opposite' is float64, the model answers"):
        through_sandbox(tmp_path / "m.onnx", golden=wrong)


def test_words_behind_other_steps_and_in_constants_are_found(tmp_path: Path) -> None:
    lower = helper.make_node("StringNormalizer", ["words"], ["low"], case_change_action="LOWER")
    equal = helper.make_node("Equal", ["low", "yes"], ["y"])
    assert known_words(text_model(tmp_path / "m.onnx", lower, equal)) == {"words": ("yes",)}


def test_text_that_nothing_is_known_about_is_tried_with_short_words(tmp_path: Path, through_sandbox: Convert) -> None:
    lower = helper.make_node("StringNormalizer", ["words"], ["y"], case_change_action="LOWER", locale="C")
    found = through_sandbox(text_model(tmp_path / "m.onnx", lower))
    for sample in found.samples:
        assert set(sample.inputs["words"]) <= set(WORDS)
        assert sample.outputs["y"].tolist() == [word.lower() for word in sample.inputs["words"]]


def test_text_that_has_to_be_a_number_is_tried_with_digits(tmp_path: Path, through_sandbox: Convert) -> None:
    cast = helper.make_node("Cast", ["words"], ["y"], to=TensorProto.FLOAT)
    found = through_sandbox(text_model(tmp_path / "m.onnx", cast, gives=TensorProto.FLOAT))
    for sample in found.samples:
        assert sample.outputs["y"].tolist() == [float(word) for word in sample.inputs["words"]]
