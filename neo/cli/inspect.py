"""`neo inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neo.cli.options import json_option, open_store, store_option
from neo.cli.output import emit

if TYPE_CHECKING:
    from neo.store import Store
    from neo.store.bundles import Bundle


@click.command(
    "inspect",
    epilog="Examples: neo inspect (all bundles), neo inspect digits:2 (its variants), neo inspect digits:1-host",
)
@click.argument("reference", metavar="[REF]", required=False)
@store_option
@json_option
def inspect_command(reference: str | None, store: Path | None, as_json: bool) -> None:
    """Show the bundle REF: inputs, outputs, engine, files, who signed it. A version with several variants is a list of
    them; without REF, all bundles of the store are.
    """
    from neo.settings import store_path
    from neo.store import is_store
    from neo.store.bundles import bundle_entries, open_bundle
    from neo.store.releases import find_release

    if (reference, store) == (None, None) and not is_store(store_path()):  # nothing was compiled yet
        emit({"store": str(store_path()), "bundles": []}, as_json, lambda console: _list(console, []))
        return
    opened = open_store(store)
    if reference is None:
        bundles = [open_bundle(opened, entry) for entry in bundle_entries(opened)]
        rows = [_summary(opened, bundle) for bundle in bundles]
        emit({"store": str(opened.root), "bundles": rows}, as_json, lambda console: _list(console, rows))
        return
    release = find_release(opened, reference)
    if len(release.variants) > 1:
        rows = [_summary(opened, variant.bundle) for variant in release.variants]
        emit({"reference": release.reference, "bundles": rows}, as_json, lambda console: _list(console, rows))
        return
    details = _details(opened, release.variants[0].bundle)
    emit(details, as_json, lambda console: _show(console, details))


def _summary(store: Store, bundle: Bundle) -> dict[str, Any]:
    return {
        "reference": bundle.manifest.reference,
        "digest": bundle.descriptor.digest,
        "engine": bundle.manifest.engine,
        "source": bundle.manifest.source,
        "size_bytes": bundle.size_bytes,
        "signed_by": _signers(store, bundle),
    }


def _details(store: Store, bundle: Bundle) -> dict[str, Any]:
    from neo.contract.manifest import REPORT_PATH

    manifest = json.loads(bundle.manifest.to_bytes())
    files = [{"path": layer.title, "size": layer.size, "digest": layer.digest} for layer in bundle.image.layers]
    report = next((layer for layer in bundle.image.layers if layer.title == REPORT_PATH), None)
    return {
        **_summary(store, bundle),
        "manifest": manifest,
        "files": files,
        "report": None if report is None else json.loads(store.read(report)),
    }


def _signers(store: Store, bundle: Bundle) -> list[str]:
    """The ids of the keys in the signatures; whether a device trusts them is the device's affair."""
    from neo.store.bundles import signatures_of
    from neo.trust.statement import SIGNATURE_TYPE

    envelopes = (store.read(d) for d in signatures_of(store, bundle.descriptor.digest, SIGNATURE_TYPE))
    return sorted({str(s["keyid"]) for envelope in envelopes for s in json.loads(envelope)["signatures"]})


def _list(console: Any, rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    if not rows:
        console.print("no bundles yet; make one with: neo compile MODEL --target host", markup=False)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("reference", "engine", "source", "size", "signed", "digest"):
        # on a narrow terminal the source gives way: references are there to be copied
        table.add_column(column, justify="right" if column == "size" else "left", no_wrap=column != "source")
    for row in rows:
        signed = "yes" if row["signed_by"] else "no"
        cells = (row["reference"], row["engine"], row["source"], f"{row['size_bytes'] / 1e6:.1f} MB", signed)
        table.add_row(*cells, row["digest"][:19])
    console.print(table)


def _show(console: Any, details: dict[str, Any]) -> None:
    manifest = details["manifest"]
    console.print(f"{details['reference']}  {details['digest']}", markup=False)
    console.print(f"source: {details['source']}   engine: {details['engine']} {manifest['engine']['version']}")
    for kind in ("inputs", "outputs"):
        for spec in manifest[kind]:
            console.print(f"{kind[:-1]}: {spec['name']} {spec['dtype']} {spec['shape']}", markup=False)
    for labels in manifest.get("labels", []):
        shown = ", ".join(labels["texts"][:3]) + (", ..." if len(labels["texts"]) > 3 else "")
        console.print(f"labels: {len(labels['texts'])} for {labels['output']} by {labels['by']}: {shown}", markup=False)
    requires = manifest["requires"]
    console.print(f"needs: {requires['arch']} {requires['os']}, glibc {requires['glibc']}", markup=False)
    console.print(f"       {' '.join(requires['features']) or 'no special instructions'}", markup=False)
    for name, version in requires["engines"].items():
        console.print(f"       {name} {version}", markup=False)
    console.print(f"signed by: {', '.join(details['signed_by']) or 'nobody: neo keys sign REF'}", markup=False)
    for file in details["files"]:
        console.print(f"{file['size']:>12,}  {file['path']}", markup=False)
    for note in (details["report"] or {}).get("notes", []):
        console.print(f"note: {note}", markup=False)
