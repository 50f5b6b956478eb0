"""What can be chosen for one kernel of a family that has a choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neo.contract.fields import ContractError, as_object, get, get_size
from neo.engines.tvm.cpu.units.tiles import Tile

# of each family of schedules that has a choice, to be raised when it makes something else of the same kernel and
# configuration: what was measured before says nothing then. tests/engines/test_schedule_versions.py finds that out
VERSIONS = {"reduction": 7, "winograd": 7}

_WHAT = "configuration"


@dataclass(frozen=True, slots=True)
class Configuration:
    """tile: the outputs that are computed at a time. columns_first: all rows of some columns before the next columns;
    otherwise all columns of some rows before the next rows.
    """

    tile: Tile
    columns_first: bool

    @classmethod
    def from_json(cls, value: Any) -> Configuration:
        """Raises ContractError. Whether it fits a kernel and a target, the schedule decides."""
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
