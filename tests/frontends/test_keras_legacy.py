from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from neo.errors import UnsupportedModel, UntrustedModel
from neo.frontends.keras_config import refuse_code
from neo.frontends.keras_legacy import refuse_tensorflow_calls, upgraded


def model_of(kind: str, **arguments: Any) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"layers": [{"class_name": kind, "config": arguments}]}}


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("DepthwiseConv2D", {"groups": 1, "name": "d"}, {"name": "d"}),
        ("Conv2D", {"groups": 1}, {"groups": 1}),
        ("LSTM", {"time_major": False, "implementation": 2}, {}),
        ("BatchNormalization", {"axis": [3]}, {"axis": 3}),
        ("BatchNormalization", {"axis": [1, 2]}, {"axis": [1, 2]}),
        ("Functional", {"output_layers": [["a", 0, 0]]}, {"output_layers": ["a", 0, 0]}),
        ("Functional", {"output_layers": [["a", 0, 0], ["b", 0, 0]]}, {"output_layers": [["a", 0, 0], ["b", 0, 0]]}),
    ],
)
def test_what_keras_3_dropped_goes_and_the_rest_stays(
    tmp_path: Path, kind: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
    config = model_of(kind, **copy.deepcopy(before))
    readable = upgraded(path, config, tmp_path)
    assert config == model_of(kind, **after)
    assert (readable == path) == (before == after)


def test_an_argument_that_means_something_is_left_for_keras_to_refuse(tmp_path: Path) -> None:
    config = model_of("LSTM", time_major=True)
    assert upgraded(tmp_path / "m.h5", config, tmp_path) == tmp_path / "m.h5"
    assert config == model_of("LSTM", time_major=True)


@pytest.mark.parametrize(("kind", "says"), [("Lambda", "Lambda layer"), ("TFSMLayer", "TFSMLayer layer")])
def test_layers_that_bring_code_are_refused_without_reading_them(tmp_path: Path, kind: str, says: str) -> None:
    with pytest.raises(UntrustedModel, match=f"{says} \\('sly'\\)"):
        refuse_code(tmp_path / "m.keras", model_of(kind, name="sly", filepath="elsewhere"))


def test_a_call_of_tensorflow_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"'tf.math.multiply'") as caught:
        refuse_tensorflow_calls(tmp_path / "m.h5", model_of("TFOpLambda", name="tf.math.multiply"))
    assert "tf_keras" in caught.value.hint
