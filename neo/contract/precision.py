"""What a model can be computed in: one row for each precision, with what it needs and how much it may cost.

How a precision is built is for each engine to say: ``neo.engines.ENGINES`` lists those that it can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from neo.contract.device import Processor
from neo.contract.parity import Tolerance


@dataclass(frozen=True, slots=True)
class Precision:
    """How convolutions and products multiply; all other operators compute in float32."""

    name: str
    #: dtype in which inputs and weights of convolutions and products are multiplied
    storage: str
    #: dtype in which the products are added up
    compute: str
    #: how far answers may be from the source framework's where the user does not say
    tolerance: Tolerance
    #: architecture -> features, as ``Processor.features`` names them, that multiply so: the first is needed, each
    #: further one does it faster where all before it are there; an architecture that is not listed cannot. Empty: every
    #: processor can
    features: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    def feature(self, cpu: Processor) -> str | None:
        """The fastest of the features that the processor has; None if it has none, or none is needed."""
        best = None
        for name in self.features.get(cpu.arch, ()):
            if name not in cpu.features:
                break
            best = name
        return best

    def runs_on(self, cpu: Processor) -> bool:
        """Has the processor instructions for it?"""
        return not self.features or self.feature(cpu) is not None


# fp32 on another processor sums in another order; a wrong model is off by far more
FP32 = Precision("fp32", "float32", "float32", Tolerance(max_abs=1e-5, max_rel=1e-3))
# bf16 keeps 8 bits of every input and weight; trained networks lose about one percent of the largest output
BF16 = Precision(
    "bf16",
    "bfloat16",
    "float32",
    Tolerance(max_abs=1e-5, max_rel=5e-2),
    {"x86_64": ("avx512_bf16", "amx_bf16"), "aarch64": ("bf16",)},
)
#: by name, in the order in which they are tried
PRECISIONS = {precision.name: precision for precision in (FP32, BF16)}
