"""Which memory layout every operator works in.

Channels last throughout: the innermost loop of a convolution then runs over output channels, contiguous in the
weights (HWIO) and in the output, which is what the schedules vectorise. Transforms that meet cancel; those of weights
are folded at compile time.
"""

from __future__ import annotations

import tvm
from tvm import relax

DESIRED = {
    "relax.nn.conv2d": ["NHWC", "HWIO"],
    # TVM lowers transposed convolutions in this layout only
    "relax.nn.conv2d_transpose": ["NCHW", "IOHW"],
}


def choose_layouts(module: tvm.IRModule) -> tvm.IRModule:
    """Raises tvm's errors for graphs it cannot convert."""
    return tvm.transform.Sequential(
        [
            relax.transform.ConvertLayout(DESIRED),
            relax.transform.Normalize(),
            relax.transform.CanonicalizeBindings(),
        ]
    )(module)
