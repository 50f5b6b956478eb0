"""What a release says of each variant beside its digest: annotations of the descriptors in its OCI image index."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: of the index itself: its artifact type, which some tools drop where OCI has it
TYPE_ANNOTATION = "io.neo-edge.type"
#: annotations of a variant's descriptor in the OCI image index of a release
TARGET_ANNOTATION = "io.neo-edge.target"
PRECISION_ANNOTATION = "io.neo-edge.precision"
PROCESSOR_ANNOTATION = "io.neo-edge.processor"
LATENCY_ANNOTATION = "io.neo-edge.latency-ms"
MEASURED_ON_ANNOTATION = "io.neo-edge.measured-on"

#: LLVM's names of processors that are no processor in particular
_GENERIC = frozenset(["", "generic"])


@dataclass(frozen=True, slots=True)
class Traits:
    """What there is to choose a variant by, beside what it requires."""

    #: the processor it is tuned for, by LLVM's name; "" if that is not known
    processor: str = ""
    #: median of a prediction in milliseconds; None where it was not measured
    latency_ms: float | None = None
    #: the ``machine_kind`` on which that was measured; "" where it was not
    measured_on: str = ""

    @property
    def is_board(self) -> bool:
        """Is it tuned for a processor by name, not for a level that many have?"""
        return self.processor not in _GENERIC and not self.processor.startswith("x86-64")

    @classmethod
    def from_annotations(cls, annotations: Mapping[str, str]) -> Traits:
        """Annotations that are absent, or are no numbers, say nothing: others may write them too."""
        latency_ms = _positive(annotations.get(LATENCY_ANNOTATION, ""))
        measured_on = annotations.get(MEASURED_ON_ANNOTATION, "")
        if latency_ms is None or not measured_on:
            latency_ms, measured_on = None, ""
        return cls(annotations.get(PROCESSOR_ANNOTATION, ""), latency_ms, measured_on)

    def to_annotations(self) -> dict[str, str]:
        said = {PROCESSOR_ANNOTATION: self.processor, MEASURED_ON_ANNOTATION: self.measured_on}
        if self.latency_ms is not None:
            said[LATENCY_ANNOTATION] = f"{self.latency_ms:.6g}"
        return {name: value for name, value in said.items() if value}


#: nothing is said
NO_TRAITS = Traits()


def machine_kind(arch: str, cores: int, features: Iterable[str]) -> str:
    """Machines of one kind have the same instructions and as many cores: what was measured on one of them holds on
    the others, as far as the order of variants goes.
    """
    digest = hashlib.sha256(" ".join(sorted(features)).encode()).hexdigest()[:12]
    return f"{arch}-{cores}-{digest}"


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
