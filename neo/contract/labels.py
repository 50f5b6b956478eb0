"""The words for a model's classes, which no tensor can hold: they stand in the manifest, beside the tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.fields import ContractError, as_object, as_string, get, get_strings

BY_VALUE = "value"
BY_POSITION = "position"
# the manifest that carries them is read up to 1 MiB
MAX_LABEL_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class OutputLabels:
    """What the classes of an output are called.

    Raises ContractError for another ``by`` and for texts of more than 256 KiB.
    """

    #: Its name.
    output: str
    #: "value": every element is the number of a class; "position": the last axis has one element for each class.
    by: str
    #: Of class 0, 1, ...
    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.by not in (BY_VALUE, BY_POSITION):
            raise ContractError(f"labels of output {self.output!r} are by {self.by!r}, not by value or position")
        size = sum(len(text.encode()) for text in self.texts)
        if size > MAX_LABEL_BYTES:
            raise ContractError(f"labels of output {self.output!r} take {size} bytes; at most {MAX_LABEL_BYTES} are")

    @classmethod
    def from_json(cls, value: Any) -> OutputLabels:
        obj = as_object(value, "labels")
        return cls(
            as_string(obj.get("output"), "labels.output"),
            get(obj, "by", str, "labels"),
            get_strings(obj, "texts", "labels"),
        )

    def to_json(self) -> dict[str, Any]:
        return {"output": self.output, "by": self.by, "texts": list(self.texts)}

    def of(self, array: NDArray[Any]) -> list[str | None]:
        """The label of every element, flat, in the order of the data; None for a number that is no class (-1)."""
        if self.by == BY_POSITION:
            last_axis = array.shape[-1] if array.ndim else 1
            numbers = np.arange(array.size) % max(last_axis, 1)
        elif array.dtype.kind in "iu":
            numbers = array
        else:  # a manifest of somebody else's making
            return [None] * array.size
        return [self.texts[n] if 0 <= n < len(self.texts) else None for n in numbers.ravel().tolist()]


def labels_by_value(labels: Sequence[OutputLabels]) -> dict[str, OutputLabels]:
    """Those that an answer carries, by output: the others are the same for every answer."""
    return {entry.output: entry for entry in labels if entry.by == BY_VALUE}
