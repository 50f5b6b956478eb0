"""What a case is: a small symbol, one per way that an operator can be used.

Read by the test and by the interpreter with MXNet; ``all_cases.CASES`` has them all by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable


class Case(NamedTuple):
    """symbol: builds the symbol from MXNet's symbol namespace. shapes: of the inputs.

    values: what the inputs hold, one kind for all or one by name; ``VALUES`` has the kinds. numpy: with numpy's shapes.
    onednn: with oneDNN's kernels, not MXNet's own: of 1.9.1's own, those of the LSTM refuse to run.
    """

    symbol: Callable[[Any], Any]
    shapes: dict[str, tuple[int, ...]]
    values: str | dict[str, str]
    numpy: bool = False
    onednn: bool = False


IMAGE = (2, 4, 9, 8)
SEQUENCE = (2, 4, 11)
VOLUME = (1, 2, 5, 6, 7)
MATRIX = (3, 6)
CUBE = (2, 3, 4)

CASES: dict[str, Case] = {}

# kind of values -> how a numpy RandomState makes them in a shape
VALUES = {
    "normal": lambda random, shape: random.normal(0.0, 1.0, shape).astype("float32"),
    "positive": lambda random, shape: random.uniform(0.1, 2.0, shape).astype("float32"),
    "unit": lambda random, shape: random.uniform(-0.95, 0.95, shape).astype("float32"),
    "indices": lambda random, shape: random.randint(0, 7, shape).astype("float32"),
    "whole": lambda random, shape: random.randint(-3, 4, shape).astype("float32"),
    "integers": lambda random, shape: random.randint(-3, 4, shape).astype("int32"),
    "halves": lambda random, shape: (random.randint(-9, 10, shape) / 2).astype("float32"),
    "lengths": lambda random, shape: random.randint(1, 4, shape).astype("float32"),
    "choices": lambda random, shape: random.randint(0, 2, shape).astype("float32"),
    "distinct": lambda random, shape: random.permutation(_count(shape)).reshape(shape).astype("float32"),
}


def _count(shape):
    count = 1
    for dim in shape:
        count *= dim
    return count


def _boxes(random, shape):
    """Corners in 0 to 1, left and top first."""
    corners = random.uniform(0.0, 0.7, (*shape[:-1], 2))
    sizes = random.uniform(0.1, 0.3, (*shape[:-1], 2))
    return _joined(corners, corners + sizes).astype("float32")


def _joined(*parts):
    return np.concatenate(parts, axis=-1)


def _detections(random, shape):
    """(class, score, corners): some classes are background (-1 or 0), some scores low, many boxes overlap."""
    classes = random.randint(-1, 3, (*shape[:-1], 1))
    scores = random.permutation(_count(shape[:-1])).reshape((*shape[:-1], 1)) / _count(shape[:-1])
    corners = random.uniform(0.0, 0.3, (*shape[:-1], 2))
    return _joined(classes, scores, corners, corners + random.uniform(0.3, 0.6, (*shape[:-1], 2))).astype("float32")


def _regions(random, shape):
    """(index in a batch of two, corners in an image of 8 x 9)."""
    corners = random.uniform(0.0, 5.0, (shape[0], 2))
    ends = corners + random.uniform(0.5, 4.0, (shape[0], 2))
    return _joined(random.randint(0, 2, (shape[0], 1)), corners, ends).astype("float32")


def _image_sizes(random, shape):
    """(height, width, scale) of images that are smaller than what their features cover."""
    return _joined(random.uniform(40.0, 60.0, (shape[0], 2)), random.uniform(0.8, 1.2, (shape[0], 1))).astype("float32")


VALUES |= {"image sizes": _image_sizes, "boxes": _boxes, "detections": _detections, "regions": _regions}


def case(name, symbol, *shapes, values="normal", numpy=False, onednn=False):
    """Inputs are called data, data1, data2 ..."""
    names = ["data", *(f"data{number}" for number in range(1, len(shapes)))]
    if not isinstance(values, str):
        values = dict(zip(names, values, strict=False))
    assert name not in CASES, name
    CASES[name] = Case(symbol, dict(zip(names, shapes, strict=False)), values, numpy, onednn)


def x(s):
    return s.var("data")


def y(s):
    return s.var("data1")
