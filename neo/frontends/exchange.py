"""What the parent and the sandboxed worker write for each other.

The request is a file in the scratch folder; the answer is JSON over a pipe (a full disk must not swallow the
error), with the arrays of the samples in a file beside the request.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from neo.contract.fields import ContractError, as_object, get, get_list, get_number, get_strings, parse_object
from neo.contract.labels import OutputLabels
from neo.contract.parity import Parity, Tolerance
from neo.contract.strings import from_plain, to_plain
from neo.contract.tensors import TensorSpec
from neo.errors import ModelError
from neo.frontends.base import Arrays, Conversion, ConversionRequest, Factory, Sample, SpecialSample
from neo.processing.documents import Processing

REQUEST_FILE = "request.json"
SAMPLES_FILE = "samples.npz"
WORK_FOLDER = "work"
# with a vocabulary in it
MAX_REQUEST_BYTES = 32 << 20


def write_request(request: ConversionRequest) -> None:
    """Puts the request into its own scratch folder; the frontend gets a sub-folder as its scratch."""
    work = request.scratch / WORK_FOLDER
    work.mkdir(parents=True)
    content = {
        "source": str(request.source.absolute()),
        "framework": request.framework,
        "scratch": str(work.absolute()),
        "inputs": [spec.to_json() for spec in request.inputs],
        "dims": dict(request.dims),
        "signature": request.signature,
        "outputs": list(request.outputs),
        "samples": request.samples,
        "seed": request.seed,
        "golden": str(request.golden.absolute()) if request.golden else None,
        "trust_pickle": request.trust_pickle,
        "processing": None if request.processing is None else request.processing.to_json(),
        "factory": _factory_to_json(request.factory),
    }
    (request.scratch / REQUEST_FILE).write_text(json.dumps(content), encoding="utf-8")


def read_request(scratch: Path) -> ConversionRequest:
    obj = parse_object((scratch / REQUEST_FILE).read_bytes(), what="request", max_bytes=MAX_REQUEST_BYTES)
    return ConversionRequest(
        source=Path(obj["source"]),
        framework=obj["framework"],
        scratch=Path(obj["scratch"]),
        inputs=get_list(obj, "inputs", TensorSpec.from_json, "request"),
        dims=obj["dims"],
        signature=obj["signature"],
        outputs=tuple(obj["outputs"]),
        samples=obj["samples"],
        seed=obj["seed"],
        golden=Path(obj["golden"]) if obj["golden"] else None,
        trust_pickle=obj["trust_pickle"],
        processing=None if obj["processing"] is None else Processing.from_json(obj["processing"]),
        factory=_factory_from_json(obj["factory"]),
    )


def _factory_to_json(factory: Factory | None) -> dict[str, Any] | None:
    if factory is None:
        return None
    weights = str(factory.weights.absolute()) if factory.weights else None
    return {"reference": factory.reference, "folder": str(factory.folder.absolute()), "weights": weights}


def _factory_from_json(obj: dict[str, Any] | None) -> Factory | None:
    if obj is None:
        return None
    return Factory(obj["reference"], Path(obj["folder"]), Path(obj["weights"]) if obj["weights"] else None)


def pack_answer(conversion: Conversion, scratch: Path) -> dict[str, Any]:
    """The answer as JSON; the samples go into scratch, by number, since tensor names may be anything."""
    arrays: Arrays = {}
    both: tuple[Sample | SpecialSample, ...] = (*conversion.samples, *conversion.special)
    for number, sample in enumerate(both):
        arrays |= {f"{number}-in-{i}": sample.inputs[spec.name] for i, spec in enumerate(conversion.inputs)}
        arrays |= {f"{number}-out-{i}": sample.outputs[spec.name] for i, spec in enumerate(conversion.outputs)}
    np.savez(scratch / SAMPLES_FILE, **to_plain(arrays))  # type: ignore[arg-type]  # numpy's stub takes any keyword for allow_pickle
    return {
        "onnx": str(conversion.onnx.relative_to(scratch)),
        "framework": conversion.framework,
        "inputs": [spec.to_json() for spec in conversion.inputs],
        "outputs": [spec.to_json() for spec in conversion.outputs],
        "samples": len(conversion.samples),
        "special": [sample.kind for sample in conversion.special],
        "reference": conversion.reference,
        "parity": conversion.parity.to_json() if conversion.parity else None,
        "labels": [entry.to_json() for entry in conversion.labels],
        "tolerance": conversion.tolerance.to_json() if conversion.tolerance else None,
        "why": conversion.why,
        "notes": list(conversion.notes),
    }


def unpack_answer(obj: dict[str, Any], scratch: Path) -> Conversion:
    """Raises ModelError if the worker's answer is not what ``pack_answer`` writes."""
    try:
        return _unpack(obj, scratch)
    except (ContractError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"the conversion wrote an answer that cannot be read: {error}") from error


def _unpack(obj: dict[str, Any], scratch: Path) -> Conversion:
    onnx = (scratch / get(obj, "onnx", str, "answer")).resolve()
    if not onnx.is_relative_to(scratch.resolve()) or not onnx.is_file():
        raise ContractError("answer.onnx should be a file in the scratch folder")
    inputs = get_list(obj, "inputs", TensorSpec.from_json, "answer")
    outputs = get_list(obj, "outputs", TensorSpec.from_json, "answer")
    with np.load(scratch / SAMPLES_FILE, allow_pickle=False) as file:
        arrays = from_plain(file)
    count, kinds = get(obj, "samples", int, "answer"), get_strings(obj, "special", "answer")
    samples = tuple(
        Sample(
            {spec.name: arrays[f"{number}-in-{i}"] for i, spec in enumerate(inputs)},
            {spec.name: arrays[f"{number}-out-{i}"] for i, spec in enumerate(outputs)},
        )
        for number in range(count + len(kinds))
    )
    parity = None
    if obj.get("parity") is not None:
        values = as_object(obj["parity"], "parity")
        parity = Parity(get_number(values, "max_abs", "parity"), get_number(values, "max_rel", "parity"))
    return Conversion(
        onnx=onnx,
        framework=get(obj, "framework", str, "answer"),
        inputs=inputs,
        outputs=outputs,
        samples=samples[:count],
        reference=get(obj, "reference", str, "answer"),
        parity=parity,
        labels=get_list(obj, "labels", OutputLabels.from_json, "answer"),
        tolerance=None if obj.get("tolerance") is None else Tolerance.from_json(obj["tolerance"]),
        why=get(obj, "why", str, "answer"),
        notes=get_strings(obj, "notes", "answer"),
        special=tuple(
            SpecialSample(kind, sample.inputs, sample.outputs)
            for kind, sample in zip(kinds, samples[count:], strict=True)
        ),
    )
