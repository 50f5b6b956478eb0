"""The result of profiling, and the roofline that it is compared with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# ONNX Runtime records at most a million events, and the whole file is read into memory
MOST_RUNS = 200


@dataclass(frozen=True, slots=True)
class KernelTime:
    """Time of one kernel in one prediction, all of its calls together."""

    #: of the kernel, or of a node of an ONNX graph
    name: str
    #: type of the node; None for a kernel that several operators are fused to
    operator: str | None
    #: in one prediction
    calls: int
    #: in milliseconds
    ms: float
    #: shapes of the outputs of one call
    outputs: tuple[tuple[int, ...], ...]
    #: None: not known
    flops: int | None = None
    #: None: not known
    moved_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Roofline:
    """The roofline model (Williams, Waterman and Patterson, 2009): a kernel is bound by arithmetic or by memory."""

    #: in 1e9 float32 operations per second
    peak_gflops: float
    #: in 1e9 bytes per second, reads and writes together
    bandwidth_gb_s: float

    def attainable_gflops(self, flops: int, moved_bytes: int) -> float:
        """min(peak, arithmetic intensity x bandwidth), in 1e9 operations per second."""
        if moved_bytes == 0:
            return self.peak_gflops
        return min(self.peak_gflops, flops / moved_bytes * self.bandwidth_gb_s)

    def least_ms(self, flops: int, moved_bytes: int) -> float:
        """Time of a kernel that reaches the roofline; also defined for copies, which have no flops."""
        return max(flops / self.peak_gflops, moved_bytes / self.bandwidth_gb_s) / 1e6


@dataclass(frozen=True, slots=True)
class Profile:
    """Times of all kernels of a bundle on this machine."""

    threads: int
    #: number of predictions that were profiled
    runs: int
    #: one prediction without profiling
    whole_ms: float
    roofline: Roofline
    #: longest first
    kernels: tuple[KernelTime, ...]

    @property
    def kernels_ms(self) -> float:
        return sum(kernel.ms for kernel in self.kernels)

    def to_json(self) -> dict[str, Any]:
        return {
            "threads": self.threads,
            "runs": self.runs,
            "whole_ms": self.whole_ms,
            "kernels_ms": self.kernels_ms,
            "other_ms": self.whole_ms - self.kernels_ms,
            "roofline": asdict(self.roofline),
            "kernels": [self._row(kernel) for kernel in self.kernels],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Profile:
        """What ``to_json`` wrote; derived numbers are derived again."""
        kernels = []
        for row in value["kernels"]:
            outputs = tuple(tuple(shape) for shape in row["outputs"])
            fields = {key: row[key] for key in ("name", "operator", "calls", "ms", "flops", "moved_bytes")}
            kernels.append(KernelTime(outputs=outputs, **fields))
        roofline = Roofline(**value["roofline"])
        return cls(value["threads"], value["runs"], value["whole_ms"], roofline, tuple(kernels))

    def _row(self, kernel: KernelTime) -> dict[str, Any]:
        """share: of the time of all kernels. of_attainable: 1 for a kernel that reaches the roofline; more if its
        operands were in a cache. limit: which of the two bounds applies.
        """
        row = {**asdict(kernel), "share": kernel.ms / self.kernels_ms if self.kernels_ms else 0.0}
        unknown = dict.fromkeys(("gflops", "gb_s", "attainable_gflops", "of_attainable", "limit"))
        if kernel.flops is None or kernel.moved_bytes is None or kernel.ms <= 0:
            return {**row, **unknown}
        flops, moved_bytes = kernel.flops, kernel.moved_bytes
        memory_bound = moved_bytes / self.roofline.bandwidth_gb_s > flops / self.roofline.peak_gflops
        return {
            **row,
            "gflops": flops / kernel.ms / 1e6,
            "gb_s": moved_bytes / kernel.ms / 1e6,
            "attainable_gflops": self.roofline.attainable_gflops(flops, moved_bytes),
            "of_attainable": self.roofline.least_ms(flops, moved_bytes) / kernel.ms,
            "limit": "memory" if memory_bound else "arithmetic",
        }
