from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.engine_process import ROOT
from benchmarks.zoo import MODEL_FILE, ZOO, model_folder
from neo.errors import UsageError
from neo.runtime.golden import read_golden

# as published; where a paper and the common implementation differ, the latter's (BERT without pooler, Inception
# without its auxiliary classifier)
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "efficientnet_b0": 5_288_548,
    "squeezenet": 1_235_496,
    "densenet121": 7_978_856,
    "inception_v3": 23_834_568,
    "vgg16": 138_357_544,
    "bert_base": 108_891_648,
    "distilbert": 66_362_880,
    "vit_base": 86_567_656,
}
COUNT = """
import json, torch
from benchmarks.zoo import ZOO
from benchmarks.zoo.export import build_network
with torch.device("meta"):
    print(json.dumps({name: sum(p.numel() for p in build_network(m).parameters()) for name, m in ZOO.items()}))
"""


def test_an_unknown_model_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        model_folder("resnet19", tmp_path)
    assert "resnet18" in caught.value.hint


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_architectures_have_the_published_number_of_parameters() -> None:
    done = subprocess.run([sys.executable, "-c", COUNT], cwd=ROOT, capture_output=True, text=True, check=True)
    counts = json.loads(done.stdout)
    assert set(counts) == set(ZOO)
    assert {name: counts[name] for name in PARAMETERS} == PARAMETERS


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_a_model_is_made_once_and_everywhere_alike(tmp_path: Path) -> None:
    folder = model_folder("digits", tmp_path / "a")
    written = (folder / MODEL_FILE).stat().st_mtime_ns
    assert model_folder("digits", tmp_path / "a") == folder
    assert (folder / MODEL_FILE).stat().st_mtime_ns == written
    again = model_folder("digits", tmp_path / "b")
    assert (again / MODEL_FILE).read_bytes() == (folder / MODEL_FILE).read_bytes()
    answers = [outputs["output"] for _, outputs in read_golden(folder)]
    assert abs(answers[0] - answers[1]).max() > 1e-3, "two inputs are told apart"
