"""Into which files a model's weights go.

A file is a blob, and a blob is what a device fetches or has: small files, so that a change of one weight moves few
others; but each costs an entry in the manifest, and a bundle has at most ``contract.oci.MAX_LAYERS`` of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neo.runtime.engine_folder import ALIGNMENT_BYTES

WEIGHTS_DIR = "weights"
#: a tensor of this size or more is a file of its own; smaller ones that follow each other share one of up to this size
FILE_BYTES = 64 << 10
#: of one engine folder; a cut model has several
MAX_FILES = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """file: relative to the engine folder. offset: in bytes, a multiple of 64."""

    file: str
    offset: int


def place_weights(sizes: Sequence[int]) -> tuple[Place, ...]:
    """sizes: of the tensors in bytes, in an order that two versions of a model share, as that of their use."""
    limit = FILE_BYTES
    places = _place(sizes, limit)
    while len({place.file for place in places}) > MAX_FILES:
        limit *= 2
        places = _place(sizes, limit)
    return places


class WeightFiles:
    """Writes tensors to their places, in the order of the places."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / WEIGHTS_DIR).mkdir()

    def write(self, place: Place, data: bytes | memoryview) -> None:
        with (self._folder / place.file).open("ab") as file:
            file.write(bytes(place.offset - file.tell()))
            file.write(data)


def _place(sizes: Sequence[int], limit: int) -> tuple[Place, ...]:
    places: list[Place] = []
    shared, used = "", 0
    for index, size in enumerate(sizes):
        own = f"{WEIGHTS_DIR}/{index:04d}.bin"
        if size >= limit:
            places.append(Place(own, 0))
            continue
        if not shared or used + size > limit:
            shared, used = own, 0
        places.append(Place(shared, used))
        used += size + -size % ALIGNMENT_BYTES
    return tuple(places)
