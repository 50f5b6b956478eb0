"""Into which files a model's weights go.

A file is a blob, and devices fetch whole blobs. Small files keep a change of one weight from sending others again, but
each costs an entry in the manifest, and a bundle has at most ``contract.oci.MAX_LAYERS`` of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neo.runtime.engine_folder import ALIGNMENT_BYTES

WEIGHTS_DIR = "weights"
#: a tensor of at least this size gets a file of its own; consecutive smaller ones share a file of at most this size
FILE_BYTES = 64 << 10
#: of one engine folder; a cut model has several
MAX_FILES = 1024


@dataclass(frozen=True, slots=True)
class FilePosition:
    """Where a tensor is written."""

    #: relative to the engine folder
    file: str
    #: in bytes, a multiple of 64
    offset: int


def place_weights(sizes: Sequence[int]) -> tuple[FilePosition, ...]:
    """sizes: of the tensors in bytes, in an order that is the same for two versions of a model, such as that of use."""
    limit = FILE_BYTES
    positions = _positions(sizes, limit)
    while len({position.file for position in positions}) > MAX_FILES:
        limit *= 2
        positions = _positions(sizes, limit)
    return positions


class WeightFiles:
    """Writes tensors to their positions, in the order of the positions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / WEIGHTS_DIR).mkdir()

    def write(self, position: FilePosition, data: bytes | memoryview) -> None:
        with (self._folder / position.file).open("ab") as file:
            file.write(bytes(position.offset - file.tell()))
            file.write(data)


def _positions(sizes: Sequence[int], limit: int) -> tuple[FilePosition, ...]:
    positions: list[FilePosition] = []
    shared, used = "", 0
    for index, size in enumerate(sizes):
        own = f"{WEIGHTS_DIR}/{index:04d}.bin"
        if size >= limit:
            positions.append(FilePosition(own, 0))
            continue
        if not shared or used + size > limit:
            shared, used = own, 0
        positions.append(FilePosition(shared, used))
        used += size + -size % ALIGNMENT_BYTES
    return tuple(positions)
