"""One way to load and to save, and one walk: nobody else opens model files or looks for graphs inside nodes."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = re.compile(r"\bonnx\.(load|save)(_model)?\(|external_data_helper\.load_")
WALK = re.compile(r"\battribute\.(g|graphs)\b")


def users_of(pattern: re.Pattern[str], package: str = "neo") -> set[str]:
    folder = ROOT / package
    return {str(path.relative_to(folder)) for path in folder.rglob("*.py") if pattern.search(path.read_text())}


def test_only_onnx_tools_loads_and_saves_models() -> None:
    assert users_of(FILES) == {"onnx_tools/files.py"}


def test_benchmarks_load_and_save_models_as_the_program_does() -> None:
    """But for the one that makes files with all of their weights outside, as other programs write them."""
    assert users_of(FILES, "benchmarks") == {"frameworks/makers/onnx.py"}


def test_only_onnx_tools_looks_for_graphs_inside_nodes() -> None:
    assert users_of(WALK) == {"onnx_tools/walk.py"}
