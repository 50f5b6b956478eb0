"""Bundles that a device must not run, pushed to a real agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from neo.contract.messages import Assignment
from neo.contract.oci import OCTETS_TYPE, Descriptor
from neo.fleet.source import source_id_of
from neo.store.bundles import Bundle
from tests.edge_agent.devices import make_assignment, make_bundle, make_manifest, sign_bundle
from tests.edge_agent.site import Site

pytestmark = pytest.mark.slow

Spoil = Callable[[Site, Bundle, Descriptor], Assignment]


def _plain(site: Site, bundle: Bundle, envelope: Descriptor) -> Assignment:
    return make_assignment(bundle, envelope, source_id_of(site.operator.store))


def _unsigned(site: Site, bundle: Bundle, _: Descriptor) -> Assignment:
    # something that the source serves, but no envelope
    return _plain(site, bundle, bundle.image.config)


def _wrong_key(site: Site, bundle: Bundle, _: Descriptor) -> Assignment:
    return _plain(site, bundle, sign_bundle(site.operator.store, bundle, CryptoSigner.generate_ed25519()))


def _other_name(site: Site, bundle: Bundle, envelope: Descriptor) -> Assignment:
    return replace(_plain(site, bundle, envelope), reference="tiny:9-host")


def _huge_signature(site: Site, bundle: Bundle, envelope: Descriptor) -> Assignment:
    return _plain(site, bundle, replace(envelope, size=1 << 40))


def _tampered_layer(site: Site, bundle: Bundle, envelope: Descriptor) -> Assignment:
    path = _model_blob(site, bundle)
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    return _plain(site, bundle, envelope)


def _model_blob(site: Site, bundle: Bundle) -> Path:
    """Of the layer that differs from version to version."""
    (layer,) = [layer for layer in bundle.image.layers if layer.title == "engine/model.onnx"]
    return site.operator.store.path(layer.digest)


def _missing_layer(site: Site, bundle: Bundle, envelope: Descriptor) -> Assignment:
    _model_blob(site, bundle).unlink()
    return _plain(site, bundle, envelope)


def _other_bundle(site: Site, envelope_of: Bundle, **changes: object) -> Assignment:
    store = site.operator.store
    bundle = make_bundle(store, site.folder, envelope_of.manifest.version, **changes)  # type: ignore[arg-type]
    return _plain(site, bundle, sign_bundle(store, bundle, site.signer))


def _wrong_target(site: Site, bundle: Bundle, _: Descriptor) -> Assignment:
    manifest = make_manifest("2")
    strange = replace(manifest, requires=replace(manifest.requires, arch="riscv64"))
    return _other_bundle(site, bundle, manifest=strange)


def _unknown_engine(site: Site, bundle: Bundle, _: Descriptor) -> Assignment:
    return _other_bundle(site, bundle, manifest=replace(make_manifest("2"), engine="abacus"))


def _too_large(site: Site, bundle: Bundle, _: Descriptor) -> Assignment:
    """A signed manifest that names a file larger than any disk."""
    store = site.operator.store
    layer = Descriptor(OCTETS_TYPE, "sha256:" + "7" * 64, 1 << 60).titled("engine/huge.bin")
    image = replace(bundle.image, layers=(*bundle.image.layers, layer))
    huge = replace(bundle, descriptor=store.put_manifest(image), image=image)
    store.add_to_index(replace(huge.descriptor, artifact_type=bundle.image.artifact_type))
    return _plain(site, huge, sign_bundle(store, huge, site.signer))


def _wrong_answers(site: Site, bundle: Bundle, _: Descriptor) -> Assignment:
    return _other_bundle(site, bundle, golden_shift=1.0)


def test_whatever_is_wrong_with_a_bundle_the_old_model_keeps_answering(site: Site) -> None:
    site.start()
    site.push("1")
    cases: list[tuple[Spoil, str, str]] = [
        (_unsigned, "TrustError", "the signature cannot be read"),
        (_wrong_key, "TrustError", "not trusted here"),
        (_other_name, "TrustError", "the signature is about"),
        (_huge_signature, "TrustError", "at most 65536"),
        (_wrong_target, "TargetError", "built for riscv64"),
        (_unknown_engine, "TargetError", "no abacus engine"),
        (_too_large, "DiskFull", "MB are free"),
        (_wrong_answers, "BundleError", "does not answer here"),
        (_tampered_layer, "TransferError", "wrong bytes"),
        (_missing_layer, "TransferError", "does not have blob"),
    ]
    for number, (spoil, error_class, words) in enumerate(cases):
        assignment = spoil(site, *site.bundle(str(20 + number)))
        site.operator.assign(assignment)
        # wrong bytes may be forged, so the device goes on asking for a minute before it blames the source
        state = site.operator.wait_for_end(assignment, timeout_s=120)
        assert state.phase == "failed", (spoil, state)
        assert state.error is not None
        assert state.error["error"] == error_class, (spoil, state.error)
        assert words in state.error["message"], (spoil, state.error)
        assert state.live is not None
        assert state.live.reference == "tiny:1-host"
        assert site.answers("1"), spoil
    site.push("2")
    assert site.answers("2")
