from __future__ import annotations

import subprocess
import sys


def test_the_agent_itself_loads_no_engine_no_compiler_and_no_framework() -> None:
    """They belong to the worker: what crashes or leaks there must not take the agent along."""
    heavy = ["onnxruntime", "onnx", "tvm", "tvm_ffi", "torch", "tensorflow", "amqtt", "neo.fleet", "neo.frontends"]
    program = f"import sys, edge_agent.__main__; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
