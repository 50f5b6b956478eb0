"""TensorSpec: the name, dtype and shape of a model's input or output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neo.contract.fields import ContractError, as_object, as_string, get
from neo.contract.strings import STRING

NUMBERS = frozenset(
    ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"]
)
DTYPES = NUMBERS | {STRING}
MAX_RANK = 32
MAX_DIM = 1 << 40

_TEXT = re.compile(r"(?P<name>[^=\[\]]+)=(?:(?P<dtype>[a-z]+[0-9]*)\[(?P<shape>[^\[\]]*)\])")
# a word in any alphabet, or an expression that starts with one
_DIM_NAME = re.compile(r"[^\W\d][\w.+*/ -]{0,127}")

Dim = int | str


def is_dim_name(text: str) -> bool:
    """Whether a dynamic dimension can be called so: "N", "height", "h/2", not "?", "2*h" or "floor(h)"."""
    return bool(_DIM_NAME.fullmatch(text))


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output.

    Two dimensions with one name have one size. Raises ContractError for an unknown dtype, an empty name, a
    negative dimension or more than 32 dimensions.
    """

    name: str
    #: As numpy names it, or "string".
    dtype: str
    #: A whole number for each dimension, or a name if it is dynamic.
    shape: tuple[Dim, ...]

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 1024:
            raise ContractError("a tensor needs a name of 1 to 1024 characters")
        if self.dtype not in DTYPES:
            raise ContractError(
                f"tensor {self.name!r} has dtype {self.dtype!r}", hint=f"known dtypes: {', '.join(sorted(DTYPES))}"
            )
        if len(self.shape) > MAX_RANK:
            raise ContractError(
                f"tensor {self.name!r} has {len(self.shape)} dimensions; at most {MAX_RANK} are allowed"
            )
        for dim in self.shape:
            ok = 0 <= dim <= MAX_DIM if isinstance(dim, int) else is_dim_name(dim)
            if not ok or isinstance(dim, bool):
                raise ContractError(f"tensor {self.name!r} has dimension {dim!r}")

    @classmethod
    def parse(cls, text: str) -> TensorSpec:
        """'x=float32[1,3,224,224]' or 'ids=int64[N,128]' or 'words=string[N]'; 'x=float32[]' is a scalar."""
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise ContractError(
                f"{text!r} is no tensor description", hint="write NAME=DTYPE[DIM,DIM,...], as in x=float32[1,3,224,224]"
            )
        dims = [dim.strip() for dim in match["shape"].split(",")] if match["shape"].strip() else []
        shape = tuple(int(dim) if re.fullmatch(r"[0-9]{1,13}", dim) else dim for dim in dims)
        return cls(match["name"].strip(), match["dtype"], shape)

    def __str__(self) -> str:
        return f"{self.name}={self.dtype}[{','.join(map(str, self.shape))}]"

    @classmethod
    def from_json(cls, value: Any) -> TensorSpec:
        obj = as_object(value, "tensor")
        dims = get(obj, "shape", list, "tensor")
        if not all(isinstance(dim, int | str) for dim in dims):
            raise ContractError("tensor.shape should hold whole numbers and names")
        return cls(as_string(obj.get("name"), "tensor.name"), as_string(obj.get("dtype"), "tensor.dtype"), tuple(dims))

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @property
    def dynamic_dims(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(dim for dim in self.shape if isinstance(dim, str)))

    def fixed(self, dims: Mapping[str, int]) -> TensorSpec:
        """The same tensor with the named dimensions replaced by their sizes."""
        return TensorSpec(self.name, self.dtype, tuple(dims.get(d, d) if isinstance(d, str) else d for d in self.shape))
