"""What can be chosen for a kernel of a tunable schedule family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neo.contract.fields import ContractError, as_object, get, get_size
from neo.engines.tvm.cpu.units.tiles import Tile

# tunable schedule family -> its version. Raise it when the family makes other loops of the same kernel and
# configuration: older measurements are invalid then. tests/engines/test_schedule_versions.py fails if it was forgotten
VERSIONS = {"reduction": 7, "winograd": 7}

_WHAT = "configuration"


@dataclass(frozen=True, slots=True)
class Configuration:
    """One point of a kernel's search space."""

    #: register tile
    tile: Tile
    #: order of the tiles: True computes all rows of some columns before the next columns, False all columns of some
    #: rows before the next rows
    columns_first: bool

    @classmethod
    def from_json(cls, value: Any) -> Configuration:
        """Raises ContractError. Whether the configuration fits a kernel and a target is checked by the schedule."""
        obj = as_object(value, _WHAT)
        rows, vectors, lanes = (get_size(obj, key, _WHAT) for key in ("rows", "vectors", "lanes"))
        if min(rows, vectors, lanes) < 1:
            raise ContractError(f"{_WHAT} has a tile of {rows} x {vectors} x {lanes}; each is at least 1")
        return cls(Tile(rows, vectors, lanes), get(obj, "columns_first", bool, _WHAT))

    def to_json(self) -> dict[str, Any]:
        tile = self.tile
        return {
            "rows": tile.rows,
            "vectors": tile.vectors,
            "lanes": tile.lanes,
            "columns_first": self.columns_first,
        }
