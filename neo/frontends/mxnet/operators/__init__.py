"""MXNet operator name -> converter, in one table. A converter turns one node into ONNX nodes."""

from neo.frontends.mxnet.operation import Converter
from neo.frontends.mxnet.operators import (
    activation,
    attention,
    boxes,
    comparison,
    convolution,
    creation,
    dense,
    detection,
    elementwise,
    expansion,
    indexing,
    normalisation,
    numpy_names,
    ordering,
    pooling,
    recurrent,
    reduction,
    regions,
    resize,
    rounding,
    sequence,
    shape,
    softmax,
)
from neo.frontends.mxnet.operators.aliases import ALIASES

_OWN_NAMES: dict[str, Converter] = {
    **activation.CONVERTERS,
    **attention.CONVERTERS,
    **boxes.CONVERTERS,
    **comparison.CONVERTERS,
    **convolution.CONVERTERS,
    **creation.CONVERTERS,
    **dense.CONVERTERS,
    **detection.CONVERTERS,
    **elementwise.CONVERTERS,
    **expansion.CONVERTERS,
    **indexing.CONVERTERS,
    **normalisation.CONVERTERS,
    **numpy_names.CONVERTERS,
    **ordering.CONVERTERS,
    **pooling.CONVERTERS,
    **recurrent.CONVERTERS,
    **reduction.CONVERTERS,
    **regions.CONVERTERS,
    **resize.CONVERTERS,
    **rounding.CONVERTERS,
    **sequence.CONVERTERS,
    **shape.CONVERTERS,
    **softmax.CONVERTERS,
}
OPERATORS: dict[str, Converter] = {
    **{alias: _OWN_NAMES[name] for alias, name in ALIASES.items()},
    **_OWN_NAMES,
}
