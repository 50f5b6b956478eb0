"""Folders that Hugging Face transformers wrote (config.json and model.safetensors) to ONNX.

The class is the one that config.json names. Nothing is fetched, and code that lies in the folder is never run.
"""

from __future__ import annotations

import importlib
import inspect
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

# before the import: it is read once
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, PreTrainedModel

from neo.errors import InputSpecError, ModelError, UnsupportedModel, UntrustedModel
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.failures import first_line
from neo.frontends.huggingface_inputs import SEQUENCES, declared_inputs, drawing
from neo.frontends.pytorch import convert_module
from neo.frontends.recognise import require_format
from neo.frontends.samples import drawn_by
from neo.frontends.shapes import fix_inputs

# written as plain operators, which every engine has; the fused attention of PyTorch is no ONNX operator, and some of
# its masks cannot be exported
_ATTENTION = "eager"
_SHOWN = 4


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: a folder. The batch is 1 and the length of sentences dynamic unless request.inputs or
    request.dims say otherwise.

    Raises ModelError for a damaged folder and for weights that do not fill the model, UntrustedModel for a model whose
    code lies in the folder, UnsupportedModel for a model that this version of transformers does not know,
    InputSpecError for inputs it does not have.
    """
    require_format(request.source, "transformers")
    model = _load(request.source)
    inputs = _inputs(model, request)
    source = convert_module(model, replace(request, inputs=inputs, dims={}), _notes(model, inputs))
    return replace(
        source,
        framework=f"transformers {transformers.__version__} ({source.framework})",
        draw=drawn_by(drawing(source.inputs, model.config)),
    )


def _load(folder: Path) -> Any:
    config = _config(folder)
    model_class = _class(config, folder)
    try:
        model, report = model_class.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation=_ATTENTION,
            # half precision is for the device to choose, and bfloat16 is no type of the contract
            dtype=torch.float32,
            weights_only=True,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"transformers cannot load {model_class.__name__} from {folder}: {first_line(error)}",
            hint="check that the folder is whole: config.json and all files of the weights",
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} of the weights of {model_class.__name__}:"
            f" {', '.join(missing[:_SHOWN])}{', ...' if len(missing) > _SHOWN else ''}",
            hint="transformers would make these up; save the model after training, or set architectures in config.json"
            " to the class that was saved",
            details={"missing": missing},
        )
    for part in model.modules():
        # a cache is no tensor, and one call of forward has no use for it
        if hasattr(getattr(part, "config", None), "use_cache"):
            part.config.use_cache = False
    return model.eval()


def _config(folder: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error):
            raise UntrustedModel(
                f"the model in {folder} is defined by code in the folder, which would have to be run",
                hint="write a function that builds it, and compile with --module package.module:function",
            ) from error
        raise UnsupportedModel(
            f"transformers {transformers.__version__} does not know the model in {folder}: {first_line(error)}",
            hint="check model_type in config.json; a newer transformers may know it",
        ) from error


def _class(config: Any, folder: Path) -> type[Any]:
    """The first of config.architectures, or the bare model where none is named."""
    bare = AutoModel._model_mapping.get(type(config), None)  # noqa: SLF001  # the only table from configs to modules
    names = config.architectures or ([bare.__name__] if isinstance(bare, type) else [])
    places = [transformers] + ([importlib.import_module(bare.__module__)] if isinstance(bare, type) else [])
    for name in names[:1]:
        for place in places:
            found = getattr(place, name, None)
            if isinstance(found, type) and issubclass(found, PreTrainedModel):
                return found
    raise UnsupportedModel(
        f"{folder} is a {', '.join(names) or config.model_type}, which transformers {transformers.__version__} lacks",
        hint="architectures in config.json should name one of its classes",
    )


def _inputs(model: Any, request: ConversionRequest) -> tuple[Any, ...]:
    declared = declared_inputs(model, request.source)
    known = {spec.name for spec in declared}
    accepted = inspect.signature(model.forward).parameters
    unknown = [spec.name for spec in request.inputs if spec.name not in accepted]
    if unknown:
        raise InputSpecError(
            f"--input names {', '.join(map(repr, unknown))}, which {type(model).__name__} does not take",
            hint=f"its inputs are: {'  '.join(map(str, declared))}",
        )
    # forward may take more than we thought of: what the user describes is taken at the user's word
    declared += tuple(spec for spec in request.inputs if spec.name not in known)
    given = request.inputs or tuple(
        spec.fixed({"N": request.dims.get("N", 1)}) for spec in declared if set(spec.dynamic_dims) <= {"N", *SEQUENCES}
    )
    return fix_inputs(declared, given, request.dims)


def _notes(model: Any, inputs: tuple[Any, ...]) -> tuple[str, ...]:
    notes = [f"the folder holds a {type(model).__name__}"]
    dynamic = dict.fromkeys(dim for spec in inputs for dim in spec.dynamic_dims)
    if dynamic:
        flags = " ".join(f"--dim {name}=128" for name in dynamic)
        notes.append(f"{', '.join(dynamic)} may have any size; {flags} would fix it and lets the tvm engine take part")
    return tuple(notes)
