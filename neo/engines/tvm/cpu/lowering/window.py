"""The parameters of convolutions; those of one and three spatial dimensions are reduced to two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax, te, tirx

from neo.engines.tvm.cpu.lowering.arithmetic import zero
from neo.engines.tvm.ir.constants import constant_of

FLOAT = "float32"
LINES, IMAGES, VOLUMES = 1, 2, 3
# number of spatial dimensions -> layouts of data, kernel and result
LAYOUTS = {
    LINES: ("NWC", "WIO", "NWC"),
    IMAGES: ("NHWC", "HWIO", "NHWC"),
    VOLUMES: ("NDHWC", "DHWIO", "NDHWC"),
}
CONVOLUTIONS = {
    "relax.nn.conv1d": LINES,
    "relax.nn.conv2d": IMAGES,
    "relax.nn.conv3d": VOLUMES,
}


@dataclass(frozen=True, slots=True)
class Window:
    """How the kernel moves over the image; all pairs are (vertical, horizontal)."""

    strides: tuple[int, int]
    #: (top, left, bottom, right)
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    #: the image is NCHW; the result is NHWC in any case
    channels_first: bool = False


@dataclass(frozen=True, slots=True)
class Depth:
    """How a 3-D kernel moves along the depth of a volume."""

    #: depth of the kernel
    taps: int
    stride: int
    #: padding before the first image
    begin: int
    dilation: int
    #: depth of the result
    out: int


@dataclass(frozen=True, slots=True)
class Convolution:
    """A 1-D, 2-D or 3-D convolution (lines, images, volumes) as a 2-D one."""

    window: Window
    #: [N, H, W, C], or [N, C, H, W] if the window has channels first
    image: tuple[int, ...]
    #: shape of the weights, [KH, KW, C / groups, O]
    kernel: tuple[int, ...]
    #: None: not constant
    weights: NDArray[Any] | None
    #: [N, H', W', O]
    out: tuple[int, ...]
    #: shape of the result as lines, images or volumes
    result: tuple[int, ...]
    #: of a 3-D convolution, which becomes a 2-D one with the channels of ``taps`` images side by side; else None
    depth: Depth | None = None

    def images(self, x: te.Tensor) -> te.Tensor:
        """Lines become images of one row. Of a volume, the images for one result are put side by side, as channels."""
        if self.depth is None:
            return te.compute((x.shape[0], 1, *x.shape[1:]), lambda n, _, w, c: x(n, w, c), name="lines")
        _, deep, height, width, channels = (int(size) for size in x.shape)
        depth = self.depth

        def value(n: tirx.Var, h: tirx.Var, w: tirx.Var, c: tirx.Var) -> Any:
            source = n % depth.out * depth.stride + c // channels * depth.dilation - depth.begin
            inside = tirx.all(source >= 0, source < deep)
            return tirx.if_then_else(inside, x(n // depth.out, source, h, w, c % channels), zero(x))

        return te.compute((self.image[0], height, width, depth.taps * channels), value, name="volumes")

    @property
    def repeats(self) -> int:
        """Filters for each channel of a depthwise convolution; 1 for others."""
        is_depthwise = self.window.groups == self.image[-1] and not self.window.channels_first
        return self.kernel[3] // self.image[-1] if is_depthwise else 1

    def repeated(self, x: te.Tensor) -> te.Tensor:
        """Every channel repeated for each of its filters, so that a vector of outputs reads a vector of inputs."""
        *lead, channels = x.shape
        times = self.repeats
        return te.compute((*lead, channels * times), lambda *at: x(*at[:-1], at[-1] // times), name="repeated")

    def of_repeated(self) -> Convolution:
        """The convolution whose input is the result of ``repeated``."""
        channels = self.image[-1] * self.repeats
        return replace(self, window=replace(self.window, groups=channels), image=(*self.image[:-1], channels))

    def shaped(self, result: te.Tensor) -> te.Tensor:
        """The 2-D result as lines, images or volumes."""
        if self.result == self.out:
            return result
        if self.depth is None:
            return te.compute(self.result, lambda n, w, o: result(n, 0, w, o), name="lines")
        deep = self.depth.out
        return te.compute(self.result, lambda n, d, h, w, o: result(n * deep + d, h, w, o), name="volumes")


def convolution_of(call: relax.Call, bindings: Any) -> Convolution | None:
    """None unless it is a float32 convolution with fixed shapes in our layouts; None for 3-D convolutions with
    groups.
    """
    attrs, spatial = call.attrs, CONVOLUTIONS[call.op.name]
    shapes = [value.ty.shape for value in (*call.args, call)]
    fixed = all(isinstance(dim, tirx.IntImm) for shape in shapes for dim in shape)
    floats = all(str(argument.ty.dtype) == FLOAT for argument in call.args)
    data, kernel_layout, result = LAYOUTS[spatial]
    first = spatial == IMAGES and attrs.data_layout == "NCHW"
    layouts = attrs.data_layout, attrs.kernel_layout, attrs.out_layout
    if not fixed or not floats or layouts != ("NCHW" if first else data, kernel_layout, result):
        return None
    image, kernel, out = (tuple(int(dim) for dim in shape) for shape in shapes)
    weights = constant_of(call.args[1], bindings)
    numbers = [[int(n) for n in values] for values in (attrs.strides, attrs.padding, attrs.dilation)]
    groups = int(attrs.groups)
    if spatial == IMAGES:
        return Convolution(_window(numbers, groups, channels_first=first), image, kernel, weights, out, out)
    if spatial == LINES:
        (stride,), (left, right), (dilation,) = numbers
        window = _window([[1, stride], [0, left, 0, right], [1, dilation]], groups)
        weights = None if weights is None else weights[None]
        return Convolution(window, _row(image), (1, *kernel), weights, _row(out), out)
    return None if groups > 1 or weights is None else _of_volume(numbers, image, weights, out)


def _row(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], 1, *shape[1:])


def _window(numbers: Sequence[Sequence[int]], groups: int, *, channels_first: bool = False) -> Window:
    strides, padding, dilation = (tuple(values) for values in numbers)
    return Window(strides, padding, dilation, groups, channels_first)  # type: ignore[arg-type]  # of these lengths


def _of_volume(
    numbers: Sequence[Sequence[int]], x: tuple[int, ...], weights: NDArray[Any], out: tuple[int, ...]
) -> Convolution:
    strides, padding, dilation = numbers
    taps, *kernel, channels, filters = weights.shape
    depth = Depth(taps, strides[0], padding[0], dilation[0], out[1])
    window = _window([strides[1:], [*padding[1:3], *padding[4:]], dilation[1:]], 1)
    # [KD, KH, KW, C, O] -> [KH, KW, KD * C, O]
    flat = np.ascontiguousarray(np.moveaxis(weights, 0, 2)).reshape(*kernel, taps * channels, filters)
    image = x[0] * out[1], *x[2:4], taps * channels
    return Convolution(window, image, flat.shape, flat, (math.prod(out[:2]), *out[2:]), out, depth)
