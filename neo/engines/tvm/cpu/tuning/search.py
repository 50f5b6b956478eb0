"""Which kernels of a module to measure, and what was measured before for the others."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import tvm
from tvm import relax

from neo.contract.device import Target
from neo.contract.versions import NewerFormat
from neo.engines.tvm.cpu.schedules import configurations_of, family_of, schedule_by
from neo.engines.tvm.cpu.schedules.packing import Uses
from neo.engines.tvm.cpu.tuning.bench import Bench
from neo.engines.tvm.cpu.tuning.cache import Cache, Document, Key, Known, Measured
from neo.engines.tvm.cpu.tuning.signature import operands, signature
from neo.engines.tvm.cpu.units.bfloat16 import Unit
from neo.engines.tvm.cpu.units.configuration import VERSIONS, Configuration
from neo.errors import StoreError
from neo.runtime.engine_folder import KernelCost
from neo.runtime.load import available_cores

# floating-point operations in the time that one byte takes: a rough ratio, which only orders kernels by importance
FLOPS_PER_BYTE = 8
# of a module's estimated time: a kernel with a smaller share is not worth a second of searching
LEAST_SHARE = 0.003
# for copies of weights: each call reads another copy, from the cache level or memory that a model would read it from
MOST_POOL_BYTES = 256 << 20

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class TunableKernel:
    """A function of a tunable schedule family."""

    name: str
    function: tvm.tirx.PrimFunc
    #: parameters that may be packed
    weights: frozenset[int]
    #: those worth measuring; the first is the default, which is used unmeasured
    configurations: tuple[Configuration, ...]
    signature: str
    #: of the module's estimated time, all calls together: 0 to 1
    share: float


class Tuner:
    """Configurations for all modules of one build. A context manager, because measuring has a process of its own.

    cache: what was measured before, and where new results are kept; None for neither. seconds: total time for
    searching. unit: multiplies bfloat16 in the modules; None if they are float32.
    """

    def __init__(
        self,
        target: Target,
        llvm: tvm.target.Target,
        cache: Cache | None,
        seconds: float,
        *,
        unit: Unit | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.unit = unit
        self._target = target
        self._cache = cache
        self._clock = clock
        self._seconds = seconds
        self._left_s = seconds
        self._threads = min(target.cpu.cores, available_cores())
        self._bench = Bench(llvm, self._threads, unit=unit)
        known = Known() if cache is None else cache.known(target)
        self._known = dict(known.kernels)
        self._own = set(known.own)
        self._notes = list(known.notes)
        self._found: dict[str, Measured] = {}
        self._missed: set[str] = set()
        self._kernels: dict[str, bool] = {}

    def __enter__(self) -> Tuner:
        return self

    def __exit__(self, *_: object) -> None:
        self._bench.close()

    def configurations(
        self, module: tvm.IRModule, uses: Uses, costs: Iterable[KernelCost], weights_bytes: int
    ) -> Mapping[str, Configuration]:
        """Function name -> configuration that beat the default, measured before or, while there is time, now.

        weights_bytes: of all weights of the module.
        """
        if not self._known and not self._seconds:
            return {}
        kernels = find_kernels(module, self._target, uses, costs)
        chosen: dict[str, Configuration] = {}
        for kernel in sorted(kernels, key=lambda kernel: -kernel.share):
            measured = self._recall(kernel)
            is_open = measured is None or kernel.signature not in self._own  # shipped ones come from another machine
            if is_open and self._seconds and kernel.share >= LEAST_SHARE:
                measured = self._search(kernel, weights_bytes) or measured
            is_faster = measured is not None and measured.gain > 1
            if measured is not None and is_faster:  # else the default, which may have changed since then
                chosen[kernel.name] = measured.configuration
            self._kernels[kernel.signature] = is_faster
        return chosen

    def notes(self) -> tuple[str, ...]:
        """For the report."""
        notes = list(self._notes)
        faster = sum(self._kernels.values())
        if faster or self._seconds:
            notes.append(f"kernels in a configuration that measured faster: {faster} of {len(self._kernels)}")
        if self._seconds:
            spent = self._seconds - self._left_s
            notes.append(f"kernels measured in this build: {len(self._found)}, in {spent:.0f} s")
        if self._missed:
            notes.append(f"kernels not measured yet: {len(self._missed)}; the time was over, --tune gives more")
        return tuple(notes)

    def _recall(self, kernel: TunableKernel) -> Measured | None:
        """What was measured before, if its configuration fits the kernel."""
        measured = self._known.get(kernel.signature)
        if measured is None or measured.configuration in kernel.configurations:
            return measured
        fits = schedule_by(measured.configuration, kernel.function, self._target, kernel.weights) is not None
        return measured if fits else None

    def _search(self, kernel: TunableKernel, weights_bytes: int) -> Measured | None:
        """None if the time is over, or the kernel cannot be measured."""
        if self._left_s <= 0:
            self._missed.add(kernel.signature)
            return None
        start = self._clock()
        measured = self._measure(kernel, weights_bytes)
        self._left_s -= self._clock() - start
        if measured is not None:
            self._known[kernel.signature] = self._found[kernel.signature] = measured
            self._own.add(kernel.signature)
            self._keep(kernel.signature, measured)
        return measured

    def _measure(self, kernel: TunableKernel, weights_bytes: int) -> Measured | None:
        scheduled = [
            (configuration, schedule_by(configuration, kernel.function, self._target, kernel.weights))
            for configuration in kernel.configurations
        ]
        fitting = [(configuration, found) for configuration, found in scheduled if found is not None]
        pool_bytes = min(weights_bytes, MOST_POOL_BYTES)
        outcome = self._bench.measure(kernel.function, [found for _, found in fitting], kernel.weights, pool_bytes)
        if outcome is None:
            self._notes.append(f"kernel {kernel.name} cannot be measured, so it keeps the default configuration")
            return None
        if outcome.out:
            self._notes.append(
                f"configurations of kernel {kernel.name} that crashed or answered wrongly: {len(outcome.out)}"
            )
        best, _ = fitting[outcome.best]
        family = family_of(kernel.function, self._target, kernel.weights)
        return Measured(
            best,
            round(outcome.gain, 3),
            round(outcome.microseconds, 2),
            self._threads,
            operands(kernel.function),
            family,
            VERSIONS[family],
        )

    def _keep(self, name: str, measured: Measured) -> None:
        """Written at once, because the rest of the build may fail."""
        if self._cache is None:
            return
        try:
            self._cache.add(Document(Key.of(self._target), {name: measured}))
        except (StoreError, NewerFormat) as error:
            self._cache = None
            self._notes.append(f"what was measured is not kept: {error.message}")


def find_kernels(module: tvm.IRModule, target: Target, uses: Uses, costs: Iterable[KernelCost]) -> list[TunableKernel]:
    """The functions of a lowered module that have a choice of configurations and a known cost."""
    calls = _calls(module)
    work = {cost.name: (cost.flops + FLOPS_PER_BYTE * cost.moved_bytes) * calls[cost.name] for cost in costs}
    total = max(1, sum(work.values()))
    kernels = []
    for variable, function in module.functions.items():
        name = variable.name_hint
        if not isinstance(function, tvm.tirx.PrimFunc) or name not in work:
            continue
        weights = frozenset(uses.get(name, ()))
        configurations = configurations_of(function, target, weights)
        if len(configurations) > 1:
            share = work[name] / total
            kernels.append(TunableKernel(name, function, weights, configurations, signature(function, weights), share))
    return kernels


def _calls(module: tvm.IRModule) -> Counter[str]:
    """How often each function is called in one prediction."""
    calls: Counter[str] = Counter()

    def count(expression: relax.Expr) -> None:
        if isinstance(expression, relax.Call) and getattr(expression.op, "name", "") == "relax.call_tir":
            calls[expression.args[0].name_hint] += 1

    relax.analysis.post_order_visit(module["main"], count)
    return calls
