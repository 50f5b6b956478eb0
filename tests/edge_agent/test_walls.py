from __future__ import annotations

import subprocess
import sys

import pytest


def loaded(names: list[str], module: str) -> str:
    """Which of the names are in ``sys.modules`` once the module is imported."""
    program = f"import sys, {module}; print([name for name in {names!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_the_agent_itself_loads_no_engine_no_compiler_and_no_framework() -> None:
    """They belong to the worker: what crashes or leaks there must not take the agent along."""
    heavy = ["onnxruntime", "onnx", "tvm", "tvm_ffi", "torch", "tensorflow", "amqtt", "neo.fleet", "neo.frontends"]
    assert loaded([*heavy, "edge_agent.worker.process"], "edge_agent.__main__") == "[]"


@pytest.mark.parametrize(
    ("module", "strangers"),
    [
        ("edge_agent.serve.infer", ["falcon", "waitress", "edge_agent.install", "paho"]),
        ("edge_agent.install.deployment", ["falcon", "waitress", "edge_agent.serve", "paho"]),
        ("edge_agent.worker.process", ["falcon", "waitress", "edge_agent.serve", "edge_agent.install", "paho"]),
    ],
)
def test_predicting_and_installing_know_no_protocol_and_not_each_other(module: str, strangers: list[str]) -> None:
    assert loaded(strangers, module) == "[]"
