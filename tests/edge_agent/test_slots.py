from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

import edge_agent.install.slots
import neo.store.bundles
from edge_agent.install.slots import Slots
from neo.contract.versions import NewerFormat
from neo.errors import BundleError, NeoError, StoreError, TrustError
from neo.store import Store
from neo.store.bundles import Bundle
from neo.trust import Authority, KeyAuthority
from tests.edge_agent.devices import make_assignment, make_bundle, sign_bundle


class Device:
    """A state folder, and bundles to install there."""

    def __init__(self, folder: Path, signer: CryptoSigner) -> None:
        self.folder = folder
        self.store = Store(folder / "store")
        self.slots = Slots(folder, self.store)
        self.signer = signer

    @property
    def authority(self) -> Authority:
        return KeyAuthority([self.signer.public_key])

    def bundle(self, version: str) -> Bundle:
        return make_bundle(self.store, self.folder.parent, version)

    def install(self, bundle: Bundle) -> None:
        envelope = sign_bundle(self.store, bundle, self.signer)
        assignment = make_assignment(bundle, envelope, "src")
        self.slots.unpack(bundle, assignment, self.store.read(envelope))
        self.slots.switch(bundle.descriptor.digest)
        self.slots.remove_all_but([self.slots.current, self.slots.previous])


@pytest.fixture
def device(tmp_path: Path, signer: CryptoSigner) -> Device:
    return Device(tmp_path / "device", signer)


def test_a_switch_keeps_the_bundle_before_to_fall_back_to(device: Device) -> None:
    one, two = device.bundle("1"), device.bundle("2")
    device.install(one)
    assert (device.slots.current, device.slots.previous) == (one.descriptor.digest, None)
    two = device.bundle("2")
    device.install(two)
    assert (device.slots.current, device.slots.previous) == (two.descriptor.digest, one.descriptor.digest)
    device.slots.fall_back()
    assert (device.slots.current, device.slots.previous) == (one.descriptor.digest, None)
    assert device.slots.check(one.descriptor.digest, device.authority).manifest.version == "1"


def test_what_is_neither_current_nor_previous_leaves_the_disk(device: Device) -> None:
    bundles = []
    for version in ("1", "2", "3"):
        bundles.append(device.bundle(version))
        device.install(bundles[-1])
    names = {path.name for path in (device.folder / "slots").iterdir()}
    assert names == {bundle.descriptor.digest.removeprefix("sha256:") for bundle in bundles[1:]}
    assert not device.store.has(bundles[0].descriptor.digest)
    assert device.store.has(bundles[1].descriptor.digest)


@pytest.mark.parametrize(
    "file", ["bundle/engine/model.onnx", "bundle/manifest.json", "signature.json", "assignment.json"]
)
@pytest.mark.parametrize("harm", ["change", "remove"])
def test_a_changed_or_missing_file_in_a_slot_is_found(device: Device, file: str, harm: str) -> None:
    bundle = device.bundle("1")
    device.install(bundle)
    path = device.folder / "slots" / bundle.descriptor.digest.removeprefix("sha256:") / file
    data = path.read_bytes()
    path.unlink()
    if harm == "change":
        path.write_bytes(data[:-9] + b"x" + data[-8:])
    with pytest.raises((BundleError, TrustError)):
        device.slots.check(bundle.descriptor.digest, device.authority)


def test_a_slot_signed_by_a_key_that_is_not_trusted_any_more_is_refused(device: Device) -> None:
    bundle = device.bundle("1")
    device.install(bundle)
    with pytest.raises(TrustError, match="not trusted here"):
        device.slots.check(bundle.descriptor.digest, KeyAuthority([CryptoSigner.generate_ed25519().public_key]))


def test_a_blob_damaged_on_disk_is_dropped_so_that_it_is_fetched_again(device: Device) -> None:
    bundle = device.bundle("1")
    digest = bundle.image.layers[0].digest
    path = device.store.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(StoreError, match="damaged"):
        device.install(bundle)
    assert not device.store.has(digest)
    assert device.slots.current is None


class PowerCut(BaseException):
    """Not an Exception: no handler may repair anything after it."""


def cut_power_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Callable[[], bool]:
    """Fail at the given durable operation, before or after it was done. -> did it happen?"""
    count, happened = 0, False

    def wrapped(operation: Callable[..., object]) -> Callable[..., object]:
        def cut(*args: object, **kwargs: object) -> object:
            nonlocal count, happened
            if happened:
                raise PowerCut
            count += 1
            happened = count >= step
            if count == step and step % 2:
                raise PowerCut
            result = operation(*args, **kwargs)
            if happened:
                raise PowerCut
            return result

        return cut

    for module in (edge_agent.install.slots, neo.store.bundles):
        for name in ("replace_file", "replace_symlink", "sync_directory"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, wrapped(getattr(module, name)))
    for name in ("rename", "unlink"):
        monkeypatch.setattr(Path, name, wrapped(getattr(Path, name)))
    monkeypatch.setattr(shutil, "rmtree", wrapped(shutil.rmtree))
    return lambda: happened


def test_a_power_cut_at_any_durable_step_leaves_the_old_or_the_new_bundle_whole(device: Device) -> None:
    zero = device.bundle("9")
    device.install(zero)
    old = device.bundle("1")
    device.install(old)
    for step in range(1, 200):
        new = device.bundle(str(step + 10))
        with pytest.MonkeyPatch.context() as monkeypatch:
            was_cut = cut_power_at(monkeypatch, step)
            with contextlib.suppress(PowerCut):
                device.install(new)
            if not was_cut():
                break
        device.slots = Slots(device.folder, Store(device.folder / "store"))
        live = device.slots.current
        assert live in (old.descriptor.digest, new.descriptor.digest)
        device.slots.check(live, device.authority)
        if device.slots.previous is not None:
            device.slots.check(device.slots.previous, device.authority)
        # and the same push again ends well
        again = make_bundle(device.store, device.folder.parent, str(step + 10))
        device.install(new if device.store.has(new.descriptor.digest) else again)
        old = new
    else:
        raise AssertionError("never got to the end")
    assert step > 10


def test_rubbish_of_a_kill_is_cleared_away(device: Device) -> None:
    (device.folder / "slots" / ".0123").mkdir()
    (device.folder / "slots" / ".old-4567" / "bundle").mkdir(parents=True)
    device.slots.remove_all_but([])
    assert list((device.folder / "slots").iterdir()) == []


def test_falling_back_to_nothing_is_an_error(device: Device) -> None:
    with pytest.raises(NeoError, match="no previous bundle"):
        device.slots.fall_back()


def test_what_a_later_version_put_there_is_not_called_damaged(device: Device) -> None:
    bundle = device.bundle("1")
    device.install(bundle)
    path = device.folder / "current" / "assignment.json"
    written = path.read_bytes()
    path.write_bytes(written.replace(b'"schema":1', b'"schema":2'))
    with pytest.raises(NewerFormat, match="written by a newer neo-edge"):
        device.slots.check(bundle.descriptor.digest, device.authority)
    path.write_bytes(written.replace(b'"schema":1', b'"schema":"1"'))
    with pytest.raises(BundleError, match="damaged"):
        device.slots.check(bundle.descriptor.digest, device.authority)
