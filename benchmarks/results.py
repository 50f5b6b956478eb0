"""Who runs in the latency benchmark, what came out, and the ratios that are claimed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.build import Build
from benchmarks.race import Timing
from neo.errors import NeoError


@dataclass(frozen=True, slots=True)
class Contender:
    """engine: a key of neo.engines.ENGINES if it is ours, None for a peer. library: a key of worker.OPENERS."""

    name: str
    library: str
    precision: str
    engine: str | None = None


TVM, NEO_ORT = "tvm", "neo-ort"
CONTENDERS = (
    Contender(TVM, "neo", "fp32", "tvm"),
    Contender(NEO_ORT, "neo", "fp32", "onnxruntime"),
    Contender("tvm-bf16", "neo", "bf16", "tvm"),
    Contender("ort", "onnxruntime", "fp32"),
    Contender("openvino", "openvino", "fp32"),
    Contender("openvino-bf16", "openvino", "bf16"),
)
# Linux's names for hardware that multiplies bf16
BF16_FEATURES = frozenset(["amx_bf16", "avx512_bf16"])


def contenders(features: Iterable[str]) -> tuple[Contender, ...]:
    """Those that make sense on a processor with these features; without bf16 hardware, bf16 would be emulated."""
    bf16 = bool(BF16_FEATURES & set(features))
    return tuple(contender for contender in CONTENDERS if contender.precision != "bf16" or bf16)


@dataclass(frozen=True, slots=True)
class Case:
    """One model with one number of threads. builds: of ours. results: by contender, why it is out or how it did."""

    model: str
    threads: int
    builds: dict[str, Build]
    results: dict[str, Timing | NeoError]

    def median_ms(self, name: str) -> float | None:
        result = self.results.get(name)
        return result.median_ms if isinstance(result, Timing) else None

    def fastest_ms(self, names: Iterable[str]) -> float | None:
        times = [time for time in map(self.median_ms, names) if time is not None]
        return min(times, default=None)

    def ratio(self, ours: Sequence[str], peers: Sequence[str]) -> float | None:
        """The fastest peer's time over the fastest of ours: 2.0 means that ours takes half as long."""
        our_ms, peer_ms = self.fastest_ms(ours), self.fastest_ms(peers)
        return None if our_ms is None or peer_ms is None else peer_ms / our_ms

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "threads": self.threads,
            "builds": {
                name: {"seconds": build.seconds, "notes": list(build.notes)} for name, build in self.builds.items()
            },
            "results": {name: result.to_json() for name, result in self.results.items()},
        }


def geometric_mean(ratios: Iterable[float | None]) -> float | None:
    """Of those that there are."""
    known = [ratio for ratio in ratios if ratio is not None]
    return statistics.geometric_mean(known) if known else None
