"""The MXNet frontend: ``x-symbol.json`` and ``x-0000.params``, read natively and mapped operator by operator.

MXNet itself is not needed. Where ``NEO_MXNET_PYTHON`` names an interpreter that has it, it answers the samples.
"""

from __future__ import annotations

import onnx

from neo.contract.fields import ContractError
from neo.errors import ModelError
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.mxnet.conversion import build, check_operators
from neo.frontends.mxnet.files import locate
from neo.frontends.mxnet.inputs import input_specs
from neo.frontends.mxnet.oracle import start_oracle
from neo.frontends.mxnet.params import read_parameters
from neo.frontends.mxnet.symbol import read_symbol
from neo.onnx_tools.files import save


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: x-symbol.json, x-0000.params, or the prefix x.

    Raises ModelError for damaged or missing files, UnsupportedModel for operators without a converter, and
    InputSpecError if --input is missing, unknown, or does not fit the weights.
    """
    files = locate(request.source)
    graph = read_symbol(files.symbol)
    check_operators(graph)
    parameters = read_parameters(files.parameters)
    try:
        inputs = input_specs(graph, parameters, request.inputs, request.dims)
        model, outputs = build(graph, parameters, inputs)
    except ContractError as error:  # names and sizes beyond what a TensorSpec holds
        raise ModelError(f"{files.symbol.name} describes an impossible tensor: {error.message}") from error
    path = request.scratch / "model.onnx"
    save(model, path)
    onnx.checker.check_model(path)
    oracle = start_oracle(files, outputs, request.scratch)
    return SourceModel(
        onnx=path,
        framework=f"mxnet {oracle.version}" if oracle else f"mxnet (symbol of version {graph.version})",
        inputs=inputs,
        outputs=outputs,
        run=oracle.run if oracle else None,
    )
