"""Measured configurations of kernels: who may search for them, and how they get from one machine to another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neo.contract.device import Target
from neo.durable import replace_file
from neo.engines import ENGINES, engines_for
from neo.engines.tuning import Cache, Document, Key, cache_at, documents_to_bytes, read_documents
from neo.errors import StoreError, UsageError
from neo.settings import tuning_path
from neo.targets import HOST, list_targets, load_target, why_not_here


@dataclass(frozen=True, slots=True)
class Summary:
    """One document of measured configurations."""

    document: Document
    #: names of the targets that it is for
    targets: tuple[str, ...]
    #: did it come with the package?
    shipped: bool

    @property
    def faster(self) -> int:
        """Number of kernels with a configuration that is faster than the default."""
        return len(self._gains)

    @property
    def gain(self) -> float:
        """Geometric mean of their speed-ups."""
        gains = self._gains
        return math.exp(sum(map(math.log, gains)) / len(gains)) if gains else 1.0

    @property
    def _gains(self) -> list[float]:
        return [kernel.gain for kernel in self.document.kernels.values() if kernel.gain > 1]

    def to_json(self) -> dict[str, Any]:
        return {
            **self.document.key.to_json(),
            "targets": list(self.targets),
            "current": self.document.is_current,
            "shipped": self.shipped,
            "kernels": len(self.document.kernels),
            "faster": self.faster,
            "gain": round(self.gain, 3),
        }


def check_search(seconds: float, targets: Sequence[Target], engines: Sequence[str]) -> None:
    """Raises UsageError unless each target can be searched for: on this machine, or what is known has to do.

    engines: those that are to be built where the target has them.
    """
    if not 0 <= seconds < math.inf:
        raise UsageError(f"--tune {seconds:g} is no number of seconds", hint="write --tune 60")
    for target in targets:
        built = [engine for engine in engines if engine in engines_for(target)]
        if not any(ENGINES[engine].tunes for engine in built):
            raise UsageError(
                f"--tune: nothing to measure in {', '.join(built) or 'no engine'} for {target.name}",
                hint="leave out --tune, or take --engine tvm",
            )
        reasons = why_not_here(target)
        if reasons and not user_cache().known(target).own:
            raise UsageError(
                f"--tune measures on this machine, which cannot run code for {target.name}: {'; '.join(reasons)}",
                hint=f"there: neo compile MODEL --target {target.name} --tune 60, then neo tune export FILE; "
                "here: neo tune import FILE",
            )


def user_cache() -> Cache:
    return cache_at(tuning_path())


def summaries() -> tuple[Summary, ...]:
    """The user's and those of the package. Raises ContractError, StoreError for a damaged file."""
    cache = user_cache()
    names: dict[str, list[str]] = {}
    for target in [load_target(HOST), *list_targets()]:
        names.setdefault(Key.of(target).digest, []).append(target.name)
    return tuple(
        Summary(document, tuple(names.get(document.key.digest, ())), shipped)
        for shipped, documents in ((False, cache.documents()), (True, cache.shipped_documents()))
        for document in documents
    )


def export_tuning(file: Path, targets: Sequence[str] = (), *, least_gain: float = 0.0) -> tuple[Document, ...]:
    """Write the user's documents that this version uses to file: all, or those for the targets. least_gain: of the
    kernels that are written.

    Raises StoreError if there are none, TargetError for an unknown target.
    """
    keys = {Key.of(load_target(name)).digest for name in targets}
    documents = tuple(
        document.current().with_gains(least_gain)
        for document in user_cache().documents()
        if document.is_current and (not keys or document.key.digest in keys)
    )
    if not documents:
        raise StoreError(
            f"nothing was measured for {', '.join(targets) or 'any target'} with this version",
            hint="neo compile MODEL --tune 60 measures; neo tune show lists what there is",
        )
    replace_file(file, documents_to_bytes(documents))
    return documents


def import_tuning(file: Path) -> tuple[Document, ...]:
    """Add what was exported to the user's; for kernels that both know, the file is believed.

    Raises ContractError if it is no such file, StoreError.
    """
    documents = read_documents(file)
    for document in documents:
        user_cache().add(document)
    return documents


def forget_tuning(target: str) -> int:
    """Remove what the user's folder has for a target; -> how many kernels. Raises TargetError, StoreError."""
    key = Key.of(load_target(target))
    count = sum(len(document.kernels) for document in user_cache().documents() if document.key == key)
    user_cache().forget(key)
    return count
