from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.reference import reference_outputs
from neo.runtime.golden import write_golden
from tests.models import classifier


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder as the zoo has them, with a tiny classifier."""
    folder = tmp_path / "classifier"
    folder.mkdir()
    path = classifier(folder / "model.onnx")
    inputs = {"x": np.random.default_rng(0).normal(size=(1, 1, 8, 8)).astype(np.float32)}
    write_golden(folder, [(inputs, reference_outputs(path, inputs))])
    return folder
