"""What operators with a kernel share."""

from __future__ import annotations

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
