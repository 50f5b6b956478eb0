"""One push, devices of several kinds: each gets its variant, from a store that another tool filled."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from securesystemslib.signer import CryptoSigner

from neo.compiler.bundle import publish
from neo.compiler.draft import stage
from neo.contract.device import Requirements
from neo.errors import DeviceError
from neo.fleet.push import PushRequest, push
from neo.store import Store
from tests.fleet.devices import FakeDevice
from tests.store.bundles import FILES, manifest_of
from tests.store.test_bundles import needs_skopeo, skopeo

ARCHS = {"pc": "x86_64", "board": "aarch64"}


def add_release(store: Store, folder) -> dict[str, str]:
    """-> device -> the digest of the variant for it."""
    drafts = []
    for name, arch in ARCHS.items():
        for title, data in FILES.items():
            (folder / name / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / title).write_bytes(data + name.encode())
        manifest = replace(
            manifest_of("tiny", "", name), requires=Requirements(arch, "linux", (), "2.28"), engine="tvm"
        )
        drafts.append(stage(store, manifest, folder / name))
    bundles = publish(store, drafts, CryptoSigner.generate_ed25519())
    return dict(zip(ARCHS, (bundle.descriptor.digest for bundle in bundles), strict=True))


@needs_skopeo
def test_a_copied_release_is_pushed_without_signing_again_and_each_device_gets_its_variant(broker, tmp_path):
    store, copy = Store(tmp_path / "store"), Store(tmp_path / "copy")
    digests = add_release(store, tmp_path / "files")
    skopeo("--insecure-policy", "copy", "--all", f"oci:{store.root}:tiny:1", f"oci:{copy.root}:tiny:1")
    with FakeDevice(broker.url, "pc"), FakeDevice(broker.url, "board", arch="aarch64"):
        time.sleep(0.5)
        result = push("tiny", PushRequest(("all",), timeout_s=30), store=copy, url=broker.url)
    result.raise_failures()
    told = {device["device"]: device for device in result.to_json()["devices"]}
    assert {device: said["digest"] for device, said in told.items()} == digests
    assert {said["why"] for said in told.values()} == {"the only one of 2 variants that fits"}
    assert (result.reference, result.digest, result.release.reference) == ("tiny:1", "", "tiny:1")


def test_a_variant_by_name_is_forced_and_refused_where_it_does_not_fit(broker, tmp_path):
    store = Store(tmp_path / "store")
    digests = add_release(store, tmp_path / "files")
    with FakeDevice(broker.url, "pc"):
        time.sleep(0.5)
        result = push("tiny:1-pc", PushRequest(("all",), timeout_s=30), store=store, url=broker.url)
        assert (result.reference, result.digest) == ("tiny:1-pc", digests["pc"])
        with pytest.raises(DeviceError, match="tiny:1-board does not fit pc: built for aarch64"):
            push("tiny:1-board", PushRequest(("all",), timeout_s=30), store=store, url=broker.url)
