"""Which variant a device gets: never one that does not fit, always the same, the measured first, then the specific."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract.device import Capabilities, Gpu, mismatches
from neo.contract.device.accelerators import AcceleratorNeed
from neo.contract.manifest import BUNDLE_TYPE, CONFIG_TYPE, Manifest
from neo.contract.oci import MANIFEST_TYPE, Descriptor, ImageManifest, digest_of
from neo.contract.parity import Tolerance
from neo.contract.tensors import TensorSpec
from neo.contract.variants import Traits, machine_kind
from neo.errors import DeviceError
from neo.fleet.choose import choose_variants
from neo.fleet.inventory import Inventory
from neo.fleet.keyring import Trust
from neo.fleet.records import DeviceRecord
from neo.fleet.request import PushRequest
from neo.fleet.variants import choose_variant, misfits
from neo.store.bundles import Bundle
from neo.store.releases import Release, Variant
from neo.targets import list_targets, load_target

SPEC = (TensorSpec("x", "float32", (1, 4)),)
TARGETS = {target.name: target for target in list_targets()}
ORIN = AcceleratorNeed("cuda", ("8.7",), driver="12.2")


def variant_of(target: str, *, precision: str = "fp32", traits: Traits | None = None, **needs: object) -> Variant:
    known = TARGETS[target]
    requires = replace(known.requirements, **needs)  # type: ignore[arg-type]
    manifest = Manifest("m", "3", target, requires, "tvm", "1.0", precision, "onnx", SPEC, SPEC, Tolerance())
    data = manifest.to_bytes()
    config = Descriptor.of(data, CONFIG_TYPE)
    image = ImageManifest(BUNDLE_TYPE, config, ())
    descriptor = Descriptor(MANIFEST_TYPE, digest_of(image.to_bytes()), 1)
    return Variant(Bundle(descriptor, image, manifest), traits or Traits(processor=known.cpu.mcpu))


def device_of(target: str, **changes: object) -> Capabilities:
    cpu = load_target(target).cpu
    device = Capabilities("d", "0", cpu.arch, "linux", "2.36", cpu.features, 4, 1 << 30, 1 << 30, {"tvm": "1.0"})
    return replace(device, **changes)  # type: ignore[arg-type]


def chosen(variants: list[Variant], device: Capabilities) -> tuple[str, str]:
    choice = choose_variant(variants, device)
    assert choice is not None
    return choice.variant.bundle.manifest.target, choice.why


X86 = ["x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v4-bf16", "x86-64-v4-amx"]


@pytest.mark.parametrize("level", range(len(X86)))
def test_the_highest_level_of_the_processor_wins(level: int) -> None:
    target, why = chosen([variant_of(name) for name in X86], device_of(X86[level]))
    assert target == X86[level]
    assert why.startswith("the only one of 5 variants" if level == 0 else "the most specific that fits: it uses ")


def test_a_board_by_name_wins_over_any_of_its_architecture() -> None:
    variants = [variant_of(name) for name in ("aarch64", "raspberry-pi-4", "raspberry-pi-5", "x86-64-v2")]
    assert chosen(variants, device_of("raspberry-pi-4"))[0] == "raspberry-pi-4"
    assert chosen(variants, device_of("raspberry-pi-5"))[0] == "raspberry-pi-5"
    assert chosen(variants, device_of("aarch64"))[0] == "aarch64"


def test_of_the_same_requirements_a_named_processor_wins_over_none() -> None:
    features = TARGETS["raspberry-pi-4"].cpu.features
    target, why = chosen(
        [variant_of("aarch64", features=features), variant_of("raspberry-pi-4")], device_of("raspberry-pi-4")
    )
    assert (target, "tuned for cortex-a72" in why) == ("raspberry-pi-4", True)


def test_an_accelerator_wins_over_a_better_processor() -> None:
    gpu = Gpu("cuda", "Orin", "8.7", "12.6", 8 << 30)
    variants = [variant_of("jetson-orin"), variant_of("aarch64", accelerators=(ORIN,))]
    device = device_of("jetson-orin", accelerators=(gpu,))
    target, why = chosen(variants, device)
    assert (target, "CUDA accelerator" in why) == ("aarch64", True)
    assert chosen(variants, replace(device, accelerators=()))[0] == "jetson-orin"


def test_of_equals_the_cheaper_precision_wins_and_then_the_name() -> None:
    features = TARGETS["x86-64-v4-bf16"].cpu.features
    variants = [variant_of("x86-64-v4", features=features), variant_of("x86-64-v4-bf16", precision="bf16")]
    assert chosen(variants, device_of("x86-64-v4-bf16")) == (
        "x86-64-v4-bf16",
        "as specific as m:3-x86-64-v4, in the cheaper precision bf16",
    )
    fp32 = [variants[0], variant_of("x86-64-v4-bf16")]
    assert chosen(fp32, device_of("x86-64-v4-bf16"))[0] == "x86-64-v4"


def test_what_was_measured_on_the_devices_kind_of_machine_wins_over_what_looks_better() -> None:
    device = device_of("x86-64-v4")
    kind = machine_kind(device.arch, device.cores, device.features)
    variants = [
        variant_of("x86-64-v2", traits=Traits("x86-64-v2", 2.0, kind)),
        variant_of("x86-64-v3", traits=Traits("x86-64-v3", 2.5, kind)),
        variant_of("x86-64-v4"),
    ]
    target, why = chosen(variants, device)
    assert (target, why) == ("x86-64-v2", "measured on this kind of machine: 2 ms, m:3-x86-64-v3 2.5 ms")
    # times of another kind of machine say nothing here
    assert chosen(variants, replace(device, cores=8))[0] == "x86-64-v4"


features = st.sets(st.sampled_from(TARGETS["x86-64-v4-amx"].cpu.features)).map(lambda found: tuple(sorted(found)))
traits = st.builds(
    Traits,
    st.sampled_from(["", "generic", "cortex-a72"]),
    st.one_of(st.none(), st.floats(0.1, 9)),
    st.sampled_from(["", machine_kind("x86_64", 4, TARGETS["x86-64-v4-amx"].cpu.features), "other"]),
)
variant_lists = st.lists(
    st.builds(
        lambda name, found, traits, precision, archs: variant_of(
            name,
            features=found,
            traits=traits,
            precision=precision,
            accelerators=(AcceleratorNeed("cuda", archs),) if archs else (),
        ),
        st.sampled_from(sorted(TARGETS)),
        features,
        traits,
        st.sampled_from(["fp32", "bf16", "fp7"]),
        st.sampled_from([(), ("8.7",), ("9.0",)]),
    ),
    unique_by=lambda variant: variant.reference,
    max_size=6,
)
devices = st.builds(
    lambda arch, found, gpus: device_of("x86-64-v2", arch=arch, features=found, accelerators=gpus),
    st.sampled_from(["x86_64", "aarch64"]),
    st.one_of(features, st.just(TARGETS["x86-64-v4-amx"].cpu.features)),
    st.sampled_from([(), (Gpu("cuda", "Orin", "8.7", "12.6", 8 << 30),)]),
)


@given(variant_lists, devices, st.randoms(use_true_random=False))
def test_whatever_there_is_the_choice_fits_is_the_same_in_any_order_and_nothing_specific_is_passed_over(
    variants, device, random
) -> None:
    choice = choose_variant(variants, device)
    unfit = misfits(variants, device)
    fitting = [variant for variant in variants if variant.reference not in unfit]
    if choice is None:
        assert fitting == []
        assert len(unfit) == len(variants)
        return
    manifest = choice.variant.bundle.manifest
    assert mismatches(manifest.requires, manifest.engine, manifest.engine_version, device) == ()
    shuffled = list(variants)
    random.shuffle(shuffled)
    assert choose_variant(shuffled, device) == choice
    kind = machine_kind(device.arch, device.cores, device.features)
    times = [v.traits.latency_ms for v in fitting if v.traits.latency_ms is not None and v.traits.measured_on == kind]
    if times:
        assert (choice.variant.traits.measured_on, choice.variant.traits.latency_ms) == (kind, min(times))
        return
    for other in fitting:
        theirs = other.bundle.manifest.requires
        assert not (
            set(theirs.features) > set(manifest.requires.features)
            and len(theirs.accelerators) >= len(manifest.requires.accelerators)
        )


def choices_for(release: Release, *devices: Capabilities | None, force: bool = False) -> dict[str, str]:
    records = {f"d{n}": DeviceRecord(f"d{n}", capabilities=said) for n, said in enumerate(devices)}
    chosen = choose_variants(release, PushRequest(("all",), force=force), Inventory(records))
    return {device: choice.variant.reference for device, choice in chosen.items()}


RELEASE = Release("m:3", tuple(variant_of(name) for name in ("x86-64-v3", "raspberry-pi-4")))


def test_every_device_gets_its_own_variant() -> None:
    found = choices_for(RELEASE, device_of("x86-64-v4"), device_of("raspberry-pi-5"))
    assert found == {"d0": "m:3-x86-64-v3", "d1": "m:3-raspberry-pi-4"}


def test_devices_that_nothing_fits_are_all_named_with_the_reasons_of_each_variant() -> None:
    with pytest.raises(DeviceError, match=r"no variant of m:3 fits d1 \(") as raised:
        choices_for(RELEASE, device_of("x86-64-v3"), device_of("x86-64-v2"), device_of("aarch64"))
    told = raised.value.details["devices"]
    assert set(told) == {"d1", "d2"}
    assert set(told["d1"]) == {"m:3-x86-64-v3", "m:3-raspberry-pi-4"}
    assert "lacks" in told["d1"]["m:3-x86-64-v3"][0]
    assert "the device is x86_64 linux" in told["d1"]["m:3-raspberry-pi-4"][0]
    assert "neo compile MODEL --target" in raised.value.hint


def test_a_device_that_has_not_said_what_it_is_gets_a_variant_by_name_only() -> None:
    with pytest.raises(DeviceError, match=r"no variant of m:3 fits d0 .*has not said what it is") as raised:
        choices_for(RELEASE, None)
    assert raised.value.hint == "name the variant, as in: neo push m:3-x86-64-v3 --to d0"
    assert choices_for(Release("m:3", RELEASE.variants[:1]), None) == {"d0": "m:3-x86-64-v3"}


def test_a_revoked_device_is_left_out_of_all_and_refused_by_name() -> None:
    said = device_of("x86-64-v4")
    records = {name: DeviceRecord(name, capabilities=said) for name in ("kitchen", "stolen")}
    records["stolen"] = replace(records["stolen"], trust=Trust.REVOKED)
    assert set(choose_variants(RELEASE, PushRequest(("all",)), Inventory(records))) == {"kitchen"}
    for devices in (("stolen",), ("kitchen", "stolen")):
        with pytest.raises(DeviceError, match="nothing is assigned to stolen, whose key was revoked"):
            choose_variants(RELEASE, PushRequest(devices, force=True), Inventory(records))


@pytest.mark.parametrize("text", ["", "nan", "inf", "-1", "0", "fast", "1e999"])
def test_a_latency_that_is_none_says_nothing(text: str) -> None:
    said = {"io.neo-edge.latency-ms": text, "io.neo-edge.measured-on": "x", "io.neo-edge.processor": "generic"}
    assert Traits.from_annotations(said) == Traits("generic")


def test_traits_come_back_from_annotations() -> None:
    for said in (Traits(), Traits("cortex-a72"), Traits("generic", 1.25, "x86_64-2-abc")):
        assert Traits.from_annotations(said.to_annotations()) == said
    assert Traits.from_annotations({"io.neo-edge.latency-ms": "2"}) == Traits()
