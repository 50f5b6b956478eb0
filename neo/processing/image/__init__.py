"""The steps before the model: pictures. One function in READERS for each name that ``do`` can have."""

from __future__ import annotations

from collections.abc import Callable

from neo.processing.image.arithmetic import read_cast, read_normalise, read_scale
from neo.processing.image.colour import read_channels, read_layout
from neo.processing.image.crop import read_crop, read_letterbox
from neo.processing.image.resize import read_resize
from neo.processing.image.state import ImageStep
from neo.processing.tables import Table

READERS: dict[str, Callable[[Table], ImageStep]] = {
    "resize": read_resize,
    "crop": read_crop,
    "letterbox": read_letterbox,
    "channels": read_channels,
    "scale": read_scale,
    "normalise": read_normalise,
    "layout": read_layout,
    "cast": read_cast,
}
