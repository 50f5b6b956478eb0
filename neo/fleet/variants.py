"""Which variant of a release a device gets. Pure: what devices and variants say goes in, a choice comes out.

Among the variants that fit, those that were measured on the device's own kind of machine come first, the fastest of
them at the head. Nothing measured: the one that requires most of the device; of equals, the one tuned for a processor
by name; of equals, the cheaper precision; of equals, the first by reference. Decision 44 has the reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from neo.contract.device import Capabilities, mismatches
from neo.contract.precision import PRECISIONS
from neo.contract.variants import machine_kind
from neo.store.releases import Variant

#: reference of a variant -> why it does not fit, in words
Misfits: TypeAlias = dict[str, tuple[str, ...]]

SHOWN_FEATURES = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant that a device gets, and why that one."""

    variant: Variant
    why: str


def misfits(variants: Sequence[Variant], device: Capabilities) -> Misfits:
    """Every variant that does not fit the device."""
    found = {variant.reference: _reasons(variant, device) for variant in variants}
    return {reference: reasons for reference, reasons in found.items() if reasons}


def choose_variant(variants: Sequence[Variant], device: Capabilities) -> Choice | None:
    """The best that fits, whatever the order of variants; None if none does."""
    fitting = sorted((v for v in variants if not _reasons(v, device)), key=_generality)
    if not fitting:
        return None
    if len(fitting) == 1:
        why = "the only variant" if len(variants) == 1 else f"the only one of {len(variants)} variants that fits"
        return Choice(fitting[0], why)
    kind = machine_kind(device.arch, device.cores, device.features)
    measured = [
        (variant.traits.latency_ms, variant)
        for variant in fitting
        if variant.traits.latency_ms is not None and variant.traits.measured_on == kind
    ]
    if not measured:
        return Choice(fitting[0], _why_specific(fitting[0], fitting[1]))
    latency_ms, fastest = min(measured, key=lambda timed: timed[0])  # the first of equals: the most specific
    why = f"measured on this kind of machine: {latency_ms:.3g} ms"
    slower = [f"{variant.reference} {ms:.3g} ms" for ms, variant in measured if variant is not fastest]
    return Choice(fastest, f"{why}, {', '.join(slower)}" if slower else f"{why}; the others were not")


def _reasons(variant: Variant, device: Capabilities) -> tuple[str, ...]:
    manifest = variant.bundle.manifest
    return mismatches(manifest.requires, manifest.engine, manifest.engine_version, device)


def _generality(variant: Variant) -> tuple[int, int, bool, int, str]:
    """The smallest is the most specific. Who requires all that another does, and more, requires the larger number."""
    requires = variant.bundle.manifest.requires
    return (
        -len(requires.accelerators),
        -len(set(requires.features)),
        not variant.traits.is_board,
        -_cheapness(variant),
        variant.reference,
    )


def _cheapness(variant: Variant) -> int:
    """Precisions in the order of the table, the dearest first; what a later version adds is not known to be cheaper."""
    names = list(PRECISIONS)
    precision = variant.bundle.manifest.precision
    return names.index(precision) if precision in names else -1


def _why_specific(best: Variant, next_best: Variant) -> str:
    ours, theirs = best.bundle.manifest.requires, next_best.bundle.manifest.requires
    other = next_best.reference
    if len(ours.accelerators) > len(theirs.accelerators):
        kinds = ", ".join(sorted({need.kind.upper() for need in ours.accelerators}))
        return f"the most specific that fits: it uses the device's {kinds} accelerator, {other} less of it"
    more = sorted(set(ours.features) - set(theirs.features))
    if len(set(ours.features)) > len(set(theirs.features)):
        shown = ", ".join(more[:SHOWN_FEATURES]) + (", ..." if len(more) > SHOWN_FEATURES else "")
        return f"the most specific that fits: it uses {shown}, {other} does not"
    if best.traits.is_board and not next_best.traits.is_board:
        return f"the most specific that fits: it is tuned for {best.traits.processor}, {other} for no processor by name"
    if _cheapness(best) > _cheapness(next_best):
        return f"as specific as {other}, in the cheaper precision {best.bundle.manifest.precision}"
    return f"as specific as {other}, and the first by name"
