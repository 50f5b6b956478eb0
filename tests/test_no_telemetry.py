"""The README promises that nothing phones home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def _run(program: str, home: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def test_loading_an_engine_leaves_no_identifier_and_no_queue_of_events_behind(tmp_path: Path) -> None:
    _run("import neo.runtime.onnxruntime", tmp_path)
    assert [str(path) for path in tmp_path.rglob("*")] == []
