"""What a compile came to, for programs, for people and for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from neo.compiler.candidates import Candidate
from neo.contract.parity import Parity
from neo.store.bundles import Bundle

COLUMNS = ("engine", "median", "p90", "load", "peak memory", "largest error")


@dataclass(frozen=True, slots=True, repr=False)
class CompiledBundle:
    """A bundle in the store, and how it came about. ``to_json`` has all of it as plain values."""

    #: The bundle: its descriptor, its files and its manifest.
    bundle: Bundle
    #: Every engine that was built, with what was measured.
    candidates: tuple[Candidate, ...]
    #: Of the chosen engine's answers with the source framework's; None where neither could be run here.
    parity: Parity | None
    #: By stage: convert, rewrite, build_<engine>, measure.
    seconds: dict[str, float]
    #: What a person should know: why an engine is out, what was decided.
    notes: tuple[str, ...]
    #: It came of an earlier compile of the same: nothing was built.
    cached: bool = False

    @property
    def reference(self) -> str:
        """As `neo push` takes it: name:version-target."""
        return self.bundle.manifest.reference

    def to_json(self) -> dict[str, Any]:
        manifest = self.bundle.manifest
        measured = {c.label: c.measurement for c in self.candidates}
        return {
            "reference": manifest.reference,
            "digest": self.bundle.descriptor.digest,
            "name": manifest.name,
            "version": manifest.version,
            "target": manifest.target,
            "engine": manifest.engine,
            "precision": manifest.precision,
            "size_bytes": self.bundle.size_bytes,
            "inputs": [spec.to_json() for spec in manifest.inputs],
            "outputs": [spec.to_json() for spec in manifest.outputs],
            "parity": None if self.parity is None else self.parity.to_json(),
            "latency_ms": {name: None if m is None else m.median_ms for name, m in measured.items()},
            "peak_rss_mb": {name: None if m is None else m.peak_rss_mb for name, m in measured.items()},
            "seconds": self.seconds,
            "notes": list(self.notes),
            "cached": self.cached,
        }

    @property
    def title(self) -> str:
        digest = self.bundle.descriptor.digest
        return f"{self.reference}  {digest[:19]}  {self.bundle.size_bytes / 1e6:.1f} MB"

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """A row of COLUMNS for every candidate; "-" for what was not measured."""
        return tuple(self._row(candidate) for candidate in self.candidates)

    def _row(self, candidate: Candidate) -> tuple[str, ...]:
        manifest, m = self.bundle.manifest, candidate.measurement
        is_chosen = (candidate.engine, candidate.precision.name) == (manifest.engine, manifest.precision)
        name = candidate.label + (" (chosen)" if is_chosen else "")
        if m is None:
            return (name, *["-"] * (len(COLUMNS) - 1))
        times = (f"{m.median_ms:.3f} ms", f"{m.p90_ms:.3f} ms", f"{m.load_ms:.0f} ms")
        return (name, *times, f"{m.peak_rss_mb:.0f} MB", f"{m.parity.max_rel:.1e}")

    def __repr__(self) -> str:
        manifest = self.bundle.manifest
        (median,) = [row[1] for row in self.rows() if row[0].endswith("(chosen)")] or ["-"]
        speed = "not measured" if median == "-" else median
        return f"<{self.reference}: {manifest.engine}, {speed}, {self.bundle.size_bytes / 1e6:.1f} MB>"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows())
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        table = f"<table><caption>{escape(self.title)}</caption><tr>{head}</tr>{rows}</table>"
        return table + (f"<ul>{notes}</ul>" if notes else "")


class CompiledBundles(tuple[CompiledBundle, ...]):
    """One for each target, in their order: ``(bundle,) = neo.compile(...)``. Shows as tables in a notebook."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"({', '.join(map(repr, self))}{',' if len(self) == 1 else ''})"

    def _repr_html_(self) -> str:
        return "".join(compiled._repr_html_() for compiled in self)
