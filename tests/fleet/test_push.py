"""Pushing through a real broker to a device that fetches and reports."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import pytest

from neo.contract.messages import Assignment, Presence
from neo.errors import BrokerError, BundleError, DeviceError, StoreError, TrustError, WaitTimeout
from neo.fleet.push import PushRequest, push
from neo.fleet.request import Stage
from neo.fleet.source import serving, source_id_of
from neo.link import BrokerUrl
from tests.brokers import ROOT, embedded_broker, free_port
from tests.fleet.devices import TOPICS, FakeDevice, make_bundle
from tests.test_link import linked, messages


def test_a_push_serves_the_device_and_ends_when_it_is_live(broker, store, tmp_path):
    bundle = make_bundle(store, tmp_path / "b", ballast=bytes(range(256)) * 4000)
    seen = []
    with FakeDevice(broker.url, "dev") as device:
        time.sleep(0.3)
        result = push("tiny", PushRequest(("dev",), timeout_s=20), store=store, url=broker.url, watch=seen.append)
    result.raise_failures()
    (outcome,) = result.outcomes
    assert (result.digest, outcome.stage, outcome.error) == (bundle.descriptor.digest, Stage.ACTIVE, None)
    assert outcome.transferred_bytes == sum(map(len, device.fetched.values()))
    assert {layer.digest for layer in bundle.image.layers} <= set(device.fetched)
    assert seen[-1].finished
    assert result.to_json()["devices"][0]["device"] == "dev"


def test_a_push_with_a_rate_limit_takes_its_time(broker, store, tmp_path):
    bundle = make_bundle(store, tmp_path / "b", ballast=bytes(range(256)) * 4800)
    with FakeDevice(broker.url, "dev"):
        time.sleep(0.3)
        request = PushRequest(("dev",), timeout_s=20, max_bytes_per_s=400_000)
        result = push("tiny", request, store=store, url=broker.url)
    result.raise_failures()
    assert result.outcomes[0].seconds >= (bundle.size_bytes - 400_000) / 400_000 - 0.5


def test_several_devices_at_once_and_the_failure_of_one_names_it(broker, store, tmp_path):
    make_bundle(store, tmp_path / "b")
    verdict = BundleError("golden samples differ by 0.5", hint="compile it again")
    with FakeDevice(broker.url, "good"), FakeDevice(broker.url, "bad", verdict=lambda: verdict):
        time.sleep(0.3)
        result = push("tiny", PushRequest(("all",), timeout_s=20), store=store, url=broker.url)
    stages = {outcome.device: outcome.stage for outcome in result.outcomes}
    assert stages == {"good": Stage.ACTIVE, "bad": Stage.FAILED}
    with pytest.raises(DeviceError, match="1 of 2 devices failed: device bad: golden samples differ") as caught:
        result.raise_failures()
    assert caught.value.hint == "compile it again"
    assert caught.value.details == result.to_json()


def test_a_key_that_the_device_does_not_trust_is_an_error_of_its_own_kind(broker, store, tmp_path):
    make_bundle(store, tmp_path / "b")
    verdict = TrustError("signed by abc, which is not trusted here", hint="--trust")
    with FakeDevice(broker.url, "dev", verdict=lambda: verdict):
        time.sleep(0.3)
        result = push("tiny", PushRequest(("dev",), timeout_s=20), store=store, url=broker.url)
    with pytest.raises(TrustError, match="device dev: signed by abc"):
        result.raise_failures()


def test_an_unsigned_bundle_an_unknown_device_and_a_misfit_are_refused_before_anything_is_assigned(
    broker, store, tmp_path
):
    make_bundle(store, tmp_path / "b", signed=False)
    with linked(broker.url, TOPICS.devices("assignment"), name="watcher") as (_, watched):
        with pytest.raises(TrustError, match="not signed") as unsigned:
            push("tiny", PushRequest(("dev",)), store=store, url=broker.url)
        assert "neo keys sign tiny:1-host" in unsigned.value.hint
        store.remove_from_index([entry.digest for entry in store.index().manifests])
        with pytest.raises(StoreError, match="no bundle"):
            push("tiny", PushRequest(("dev",)), store=store, url=broker.url)
        make_bundle(store, tmp_path / "signed")
        with pytest.raises(DeviceError, match="no device has connected"):
            push("tiny", PushRequest(("all",)), store=store, url=broker.url)
        with FakeDevice(broker.url, "arm", arch="aarch64"):
            time.sleep(0.3)
            with pytest.raises(DeviceError, match="unknown device x86") as unknown:
                push("tiny", PushRequest(("x86",)), store=store, url=broker.url)
            assert "known are: arm" in unknown.value.hint
            with pytest.raises(DeviceError, match="does not fit arm: built for x86_64 linux, the device is aarch64"):
                push("tiny", PushRequest(("arm",)), store=store, url=broker.url)
        assert messages(watched) == []


def test_an_offline_device_gets_it_when_it_comes_back(broker, store, tmp_path):
    make_bundle(store, tmp_path / "b")
    with FakeDevice(broker.url, "dev", asks=False):
        pass
    result = push("tiny", PushRequest(("dev",), timeout_s=0.5), store=store, url=broker.url)
    with pytest.raises(WaitTimeout, match=r"device dev has not finished in 0\.5 s; it is offline") as caught:
        result.raise_failures()
    assert "neo status dev" in caught.value.hint
    with serving(store, TOPICS, broker.url), FakeDevice(broker.url, "dev") as device:
        deadline = time.monotonic() + 10
        while len(device.fetched) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(device.fetched) >= 4


def test_a_device_never_seen_can_be_forced(broker, store, tmp_path):
    make_bundle(store, tmp_path / "b")
    result = push("tiny", PushRequest(("new",), wait=False, force=True), store=store, url=broker.url)
    assert [outcome.stage for outcome in result.outcomes] == [Stage.ASSIGNED]
    with linked(broker.url, TOPICS.devices("assignment")) as (_, inbox):
        (message,) = messages(inbox)
        assert Assignment.from_bytes(message.payload).manifest.digest == result.digest


def test_a_push_leaves_the_serving_to_a_source_that_is_online(broker, store, tmp_path):
    make_bundle(store, tmp_path / "b")
    with serving(store, TOPICS, broker.url), FakeDevice(broker.url, "dev") as device:
        time.sleep(0.5)
        with linked(broker.url, TOPICS.device("dev", "chunk"), name="counter") as (_, inbox):
            push("tiny", PushRequest(("dev",), timeout_s=20), store=store, url=broker.url).raise_failures()
            received = sum(len(message.payload) for message in messages(inbox))
    assert received < 1.5 * sum(map(len, device.fetched.values()))


def test_a_source_that_only_looks_online_strands_nobody(broker, store, tmp_path):
    make_bundle(store, tmp_path / "b")
    with linked(broker.url, name="ghost") as (ghost, _):
        stale = Presence(True, "ghost", 0.0).to_bytes()
        ghost.publish(TOPICS.source(source_id_of(store), "presence"), stale, retain=True)
    with FakeDevice(broker.url, "dev"):
        time.sleep(0.3)
        result = push("tiny", PushRequest(("dev",), timeout_s=20), store=store, url=broker.url)
    result.raise_failures()
    assert result.outcomes[0].seconds > 2.5


def test_a_push_that_somebody_else_replaces_says_so(broker, store, tmp_path):
    make_bundle(store, tmp_path / "b")
    with FakeDevice(broker.url, "dev", asks=False):
        time.sleep(0.3)

        def replace_it() -> None:
            time.sleep(1)
            push("tiny", PushRequest(("dev",), wait=False), store=store, url=broker.url)

        thread = threading.Thread(target=replace_it)
        thread.start()
        result = push("tiny", PushRequest(("dev",), timeout_s=20), store=store, url=broker.url)
        thread.join()
    with pytest.raises(DeviceError, match="was replaced by tiny:1-host"):
        result.raise_failures()


def test_a_push_survives_a_power_cut_of_the_broker(broker, store, tmp_path):
    make_bundle(store, tmp_path / "b")
    with FakeDevice(broker.url, "dev", verdict=lambda: time.sleep(1)):
        time.sleep(0.3)

        def cut() -> None:
            time.sleep(0.6)
            broker.kill()
            broker.restart()

        thread = threading.Thread(target=cut)
        thread.start()
        result = push("tiny", PushRequest(("dev",), timeout_s=30), store=store, url=broker.url)
        thread.join()
    result.raise_failures()


def test_without_a_broker_a_push_says_how_to_start_one(store, tmp_path):
    make_bundle(store, tmp_path / "b")
    with pytest.raises(BrokerError, match="no broker listens"):
        push("tiny", PushRequest(("dev",)), store=store, url=BrokerUrl("127.0.0.1", free_port()))


def test_the_commands_print_one_json_object_each(store, tmp_path):
    make_bundle(store, tmp_path / "b")

    def neo(*arguments: str) -> tuple[int, dict]:
        command = [sys.executable, "-m", "neo.cli.__main__", *arguments, "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, json.loads(done.stdout)

    with embedded_broker(tmp_path / "broker", store=store.root) as running, FakeDevice(running.url, "dev"):
        broker = ("--broker", str(running.url))
        code, pushed = neo("push", "tiny", "--to", "dev", "--store", str(store.root), *broker)
        assert (code, pushed["reference"]) == (0, "tiny:1-host")
        about = {"device", "phase", "seconds", "transferred_bytes", "error", "reference", "digest", "why"}
        assert set(pushed["devices"][0]) == about
        code, status = neo("status", *broker)
        assert status["devices"][0]["live"]["digest"] == pushed["digest"]
        assert (code, status["devices"][0]["online"], status["devices"][0]["problems"]) == (0, True, [])
        code, failed = neo("status", "other", *broker)
        assert (code, failed["hint"]) == (DeviceError.exit_code, "known are: dev")
        code, failed = neo("push", "tiny", "--to", "other", "--store", str(store.root), *broker)
        assert (code, failed["error"]) == (DeviceError.exit_code, "DeviceError")
