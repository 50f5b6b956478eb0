"""Asks every release of ONNX Runtime what it runs, for the table from which `neo.engines.onnxruntime.floor` says what a
device needs: its kernels for processors with their types, the attributes and inputs of its operators, and the newest
operator sets and IR version that it loads. Wheels come from pip's index; about 200 MB and a minute.

usage: python -m benchmarks.onnxruntime_releases    # writes neo/engines/onnxruntime/releases.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from neo.engines.onnxruntime.floor import TABLE_PATH

# of each minor version the first that there is a wheel of: a device may have any of them
RELEASES = (
    *("1.20.0", "1.21.0", "1.22.0", "1.23.0", "1.24.1", "1.25.0"),
    *("1.26.0", "1.27.0", "1.28.0", "1.29.0", "1.30.0", "1.31.0", "1.32.0"),
)
# what a kernel did wrong before: found by running ONNX's own conformance cases, saved by the newest release, in each
RIGHT_FROM = {
    "Attention": "1.28",  # masks that leave nothing, grouped queries, soft caps
    "DFT": "1.27",  # inverse and one-sided at once
    "RotaryEmbedding": "1.24",  # of a part of the head
}
_ANY_LATER = 2**31 - 1  # the end of a kernel's range of versions that has none
_OPSETS, _ML_OPSETS, _IR_VERSIONS = range(17, 40), range(3, 12), range(8, 24)

Key = tuple[str, str, int]


def main() -> None:
    answers = {}
    with tempfile.TemporaryDirectory() as scratch:
        for release in RELEASES:
            folder = Path(scratch) / release
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
            subprocess.run([*install, f"onnxruntime=={release}"], check=True)
            environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
            asked = [sys.executable, "-m", __spec__.name, "--ask"]
            answers[release] = json.loads(
                subprocess.run(asked, env=environment, check=True, stdout=subprocess.PIPE).stdout
            )
            assert answers[release]["version"] == release
    write(table(answers), TABLE_PATH)


def ask() -> dict[str, Any]:
    """What the ONNX Runtime in this process says of itself."""
    import onnxruntime
    from onnxruntime.capi import _pybind_state as state

    onnxruntime.set_default_logger_severity(4)
    kernels = [
        (each.domain, each.op_name, *each.version_range, {name: list(of) for name, of in each.type_constraints.items()})
        for each in state.get_all_opkernel_def()
        if each.provider == "CPUExecutionProvider"
    ]
    schemas = [
        (each.domain, each.name, each.since_version, sorted(each.attributes), each.max_input)
        for each in state.get_all_operator_schema()
    ]
    return {
        "version": onnxruntime.__version__,
        "opset": max(filter(lambda version: loads({"": version}), _OPSETS)),
        "ml_opset": max(filter(lambda version: loads({"": 17, "ai.onnx.ml": version}), _ML_OPSETS)),
        "ir": max(filter(lambda version: loads({"": 17}, version), _IR_VERSIONS)),
        "kernels": kernels,
        "schemas": schemas,
    }


def loads(opsets: dict[str, int], ir_version: int = 8) -> bool:
    """Does this ONNX Runtime load a model of these versions?"""
    import onnxruntime
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", [x], [y])
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001  # onnxruntime's exceptions share no base class of their own
        return False
    return True


def table(answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """answers: release -> what it said, oldest first. -> the table as `floor` reads it."""
    releases: dict[str, dict[str, int]] = {}
    operators: dict[str, dict[str, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
    known: dict[Key, dict[str, set[str]]] = {}
    for release, answer in answers.items():
        minor = ".".join(release.split(".")[:2])
        releases[minor] = {name: answer[name] for name in ("opset", "ml_opset", "ir")}
        schemas = {(domain, name, since): rest for domain, name, since, *rest in answer["schemas"]}
        for key, types in supported(answer, schemas).items():
            domain, name, since = key
            facts = operators[domain][name].setdefault(str(since), {"first": minor})
            _note_what_grew(facts, minor, types, known.get(key, types), schemas[key])
            known[key] = types
    for domain, names in operators.items():
        for name, versions in names.items():
            for facts in versions.values():
                del facts["known"]
                if not domain:
                    facts["first"] = max(facts["first"], RIGHT_FROM.get(name, ""))
    return {"schema_version": 1, "releases": releases, "operators": operators}


def _note_what_grew(
    facts: dict[str, Any],
    minor: str,
    types: dict[str, set[str]],
    before: dict[str, set[str]],
    schema: tuple[list[str], int],
) -> None:
    """facts: of one version of an operator, as the table has them; ``known`` is what the releases before had."""
    attributes, max_inputs = schema
    had = facts.setdefault("known", {"attributes": attributes, "inputs": max_inputs})
    for constraint, of in types.items():
        # a constraint that is new narrows what a kernel takes: a type of it is none that was added
        for added in of - before.get(constraint, of):
            facts.setdefault("types", {}).setdefault(added, minor)
    for attribute in set(attributes) - set(had["attributes"]):
        facts.setdefault("attributes", {}).setdefault(attribute, minor)
    if max_inputs > had["inputs"]:
        facts.setdefault("inputs", []).append([had["inputs"], minor])
        had["inputs"] = max_inputs


def supported(answer: dict[str, Any], schemas: dict[Key, Any]) -> dict[Key, dict[str, set[str]]]:
    """Version of an operator -> for each constraint the types that a kernel of it takes."""
    kernels: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for domain, name, *rest in answer["kernels"]:
        kernels[domain, name].append(rest)
    found: dict[Key, dict[str, set[str]]] = {}
    for domain, name, since in schemas:
        for start, end, types in kernels[domain, name]:
            # a kernel without an end is for the version it begins with only
            if start == since or (start <= since <= end != _ANY_LATER):
                by_constraint = found.setdefault((domain, name, since), {})
                for constraint, of in types.items():
                    by_constraint.setdefault(constraint, set()).update(of)
    return found


def write(found: dict[str, Any], path: Path) -> None:
    """A line for each operator: what a release adds is seen in a difference."""
    lines = []
    for domain, names in sorted(found["operators"].items()):
        rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(names[name], sort_keys=True)}" for name in sorted(names))
        lines.append(f" {json.dumps(domain)}: {{\n{rows}\n }}")
    head = json.dumps({key: found[key] for key in ("schema_version", "releases")}, indent=1)
    path.write_text(head.removesuffix("\n}") + ',\n "operators": {\n' + ",\n".join(lines) + "\n }\n}\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--ask"]:
        print(json.dumps(ask()))
    else:
        main()
