"""How the kernel of a convolution moves over its image."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import relax, tirx

FLOAT = "float32"


@dataclass(frozen=True, slots=True)
class Window:
    """How the kernel moves over the image, each as (vertical, horizontal). padding: (top, left, bottom, right).

    channels_first: the image is NCHW; the result is NHWC all the same.
    """

    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    channels_first: bool = False


def window_of(call: relax.Call) -> Window | None:
    """None if the call is not a float32 convolution with fixed shapes in our layout."""
    attrs = call.attrs
    shapes = [argument.ty.shape for argument in call.args]
    fixed = all(isinstance(dim, tirx.IntImm) for shape in shapes for dim in shape)
    layouts = (attrs.kernel_layout, attrs.out_layout)
    floats = all(str(argument.ty.dtype) == FLOAT for argument in call.args)
    if not fixed or not floats or layouts != ("HWIO", "NHWC"):
        return None
    numbers = [tuple(int(value) for value in values) for values in (attrs.strides, attrs.padding, attrs.dilation)]
    strides, padding, dilation = numbers
    first = attrs.data_layout == "NCHW"
    return Window(strides, padding, dilation, int(attrs.groups), first)  # type: ignore[arg-type]  # of these lengths
