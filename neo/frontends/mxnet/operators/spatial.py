"""What operators with a kernel share."""

from __future__ import annotations

from neo.errors import InputSpecError
from neo.frontends.mxnet.operation import Operation

CHANNELS_FIRST = ("NCW", "NCHW", "NCDHW")


def require_channels_first(op: Operation) -> None:
    layout = op.attributes.text("layout", "NCHW")
    if layout not in CHANNELS_FIRST:
        raise op.unsupported(
            f"layout {layout}; only {', '.join(CHANNELS_FIRST)} are converted",
            "export the model with channels first, MXNet's default",
        )


def per_dimension(op: Operation, name: str, rank: int, default: int) -> tuple[int, ...]:
    """The attribute, one number per spatial dimension; "()" is the default too."""
    numbers = op.attributes.integers(name, ()) or (default,) * rank
    # a stride or dilation is at least 1, a padding at least 0: so are their defaults
    if len(numbers) != rank or min(numbers) < default:
        raise op.unsupported(f"{name}={numbers} for a kernel of {rank} dimensions")
    return numbers


def require_reach(op: Operation, extent: tuple[int, ...], pad: tuple[int, ...]) -> None:
    """The kernel fits into the padded data. Checked here, as ONNX's shape inference rounds -1/2 up to 0."""
    for axis, (reach, border) in enumerate(zip(extent, pad, strict=True), start=2):
        dim = op.data.shape[axis]
        if isinstance(dim, int) and dim + 2 * border < reach:
            raise InputSpecError(
                f"{op.where}: its kernel spans {reach}, dimension {axis} of its input {op.data} is smaller",
                hint="is --input the size and layout (NCHW) that the model was trained with?",
            )
