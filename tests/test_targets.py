from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from neo.contract.device import Accelerator, Target, mismatches
from neo.contract.precision import BF16
from neo.engines import ENGINES, engines_for
from neo.errors import TargetError
from neo.runtime.host import KNOWN_FEATURES, read_host
from neo.targets import HOST, host_capabilities, host_target, list_targets, load_target, why_not_here

TARGETS = list_targets()
FOLDER = Path(__file__).parents[1] / "targets"


def test_every_file_is_a_target_of_its_own_name() -> None:
    assert {target.name for target in TARGETS} == {path.stem for path in FOLDER.glob("*.toml")}
    assert len(TARGETS) >= 9
    assert HOST not in {target.name for target in TARGETS}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_target_asks_for_what_a_device_can_say_of_itself(target: Target) -> None:
    assert set(target.cpu.features) <= set(KNOWN_FEATURES[target.cpu.arch])
    assert len(set(target.cpu.features)) == len(target.cpu.features)
    assert engines_for(target) == tuple(ENGINES)
    assert target.cpu.vector_bits in (128, 256, 512)
    assert Target.from_json(json.loads(json.dumps(target.to_json()))) == target
    assert target.cpu.triple == f"{target.cpu.arch}-linux-gnu"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_vectors_are_no_wider_than_the_features_allow(target: Target) -> None:
    if target.cpu.arch == "x86_64":
        widest = 512 if "avx512f" in target.cpu.features else 256 if "avx2" in target.cpu.features else 128
        assert target.cpu.vector_bits == widest
        assert target.cpu.vector_registers == (32 if widest == 512 else 16)
        assert target.cpu.operand_registers == (15 if widest == 128 else target.cpu.vector_registers)
    else:
        assert (target.cpu.vector_bits, target.cpu.vector_registers) == (128, 32)


LLVM_SCRIPT = """
import json, sys
import tvm
from tvm import te
a = te.placeholder((16,), name="a")
function = te.create_prim_func([a, te.compute((16,), lambda i: a[i] * 2.0 + a[i], name="b")])
for triple, mcpu, attrs in json.loads(sys.stdin.read()):
    target = tvm.target.Target({"kind": "llvm", "mtriple": triple, "mcpu": mcpu, "mattr": attrs})
    tvm.compile(tvm.IRModule({"main": function}), target=target)
    print("built", triple, mcpu, flush=True)
"""


@pytest.mark.slow
def test_llvm_knows_every_processor_and_feature() -> None:
    """LLVM only warns of what it does not know, on stderr, and goes on with less."""
    wanted = [(target.cpu.triple, target.cpu.mcpu, list(target.cpu.attrs)) for target in (*TARGETS, load_target(HOST))]
    for arch, names in KNOWN_FEATURES.items():
        everything = replace(read_host(), arch=arch, features=tuple(names))
        target = host_target(everything)
        wanted.append((target.cpu.triple, target.cpu.mcpu, list(target.cpu.attrs)))
    done = subprocess.run(
        [sys.executable, "-c", LLVM_SCRIPT],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("built") == len(wanted)
    complaints = [line for line in done.stderr.splitlines() if "not a recognized" in line or "rror" in line]
    assert complaints == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("raspbery-pi-4", "raspberry-pi-4"),
        ("raspberrypi-5", "raspberry-pi-5"),
        ("hots", "host"),
        ("x86-64-v5", "x86-64"),
    ],
)
def test_a_name_that_is_nearly_right_is_suggested(typed: str, meant: str) -> None:
    with pytest.raises(TargetError, match="unknown target") as raised:
        load_target(typed)
    assert raised.value.hint.startswith(f"did you mean '{meant}")


@pytest.mark.parametrize("name", ["", "toaster", "../targets/x86-64-v2", "a/b", "a\0b", "x" * 5000, ".toml", "no.toml"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(TargetError, match="unknown target") as raised:
        load_target(name)
    assert "host" in raised.value.hint
    assert "raspberry-pi-4" in raised.value.hint
    assert len(raised.value.message) < 300


def test_a_users_own_file_is_a_target(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = (FOLDER / "raspberry-pi-4.toml").read_text()
    path.write_text(text.replace('name = "raspberry-pi-4"', 'name = "my-box"').replace("cores = 4", "cores = 2"))
    target = load_target(str(path))
    assert (target.name, target.cpu.cores, target.cpu.mcpu) == ("my-box", 2, "cortex-a72")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("cores = 4", "cores = 0", "cores is 0"),
        ("cores = 4", 'cores = "4"', "cores should be int"),
        ("cores = 4", "cores = -4", "cores should be between"),
        ("cores = 4", "cores = true", "cores should be int"),
        ("cores = 4", "", "cores should be int, found nothing"),
        ("[cpu]", "[gpu]", "target.cpu should be an object"),
        ('glibc = "2.28"', 'glibc = "new"', "glibc is 'new'"),
        ('glibc = "2.28"', "glibc = 2.28", "glibc should be a string"),
        ('name = "raspberry-pi-4"', 'name = "../x"', "name is '../x'"),
        ('features = ["fp"', "features = [7", "features[] should be a string"),
        ("[cpu]", "[cpu", "cannot be read"),
        ("[cpu]", "x = " + "[" * 5000, "cannot be read"),
    ],
)
def test_a_file_with_a_mistake_names_the_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = (FOLDER / "raspberry-pi-4.toml").read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new))
    with pytest.raises(TargetError) as raised:
        load_target(str(tmp_path / "mine.toml"))
    assert said in raised.value.message
    assert "mine.toml" in raised.value.message


GPU = """
[[accelerator]]
kind = "cuda"
archs = ["8.7"]
ptx = "8.7"
driver = "12.2"
"""


def test_a_target_may_have_accelerators_beside_its_processor(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text((FOLDER / "jetson-orin.toml").read_text() + GPU + GPU.replace("8.7", "8.6"))
    target = load_target(str(tmp_path / "mine.toml"))
    assert target.accelerators == (
        Accelerator("cuda", ("8.7",), "8.7", "12.2"),
        Accelerator("cuda", ("8.6",), "8.6", "12.2"),
    )
    assert load_target("jetson-orin").accelerators == ()
    # an engine for the processor runs without them
    assert target.requirements == load_target("jetson-orin").requirements


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('archs = ["8.7"]', 'archs = ["sm_87"]', "accelerator.archs[] is 'sm_87'"),
        ('archs = ["8.7"]', "", "accelerator.archs should be list, found nothing"),
        ('driver = "12.2"', 'driver = "r535"', "accelerator.driver is 'r535'"),
        ('kind = "cuda"', "", "accelerator.kind should be a string"),
        ("[[accelerator]]", "[accelerator]", "target.accelerator should be list"),
    ],
)
def test_an_accelerator_with_a_mistake_names_the_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GPU
    (tmp_path / "mine.toml").write_text((FOLDER / "jetson-orin.toml").read_text() + GPU.replace(old, new))
    with pytest.raises(TargetError) as raised:
        load_target(str(tmp_path / "mine.toml"))
    assert said in raised.value.message


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(TargetError, match="cannot be read"):
        load_target(str(tmp_path / "mine.toml"))


def test_what_is_built_for_this_machine_runs_here() -> None:
    assert why_not_here(load_target(HOST)) == ()


def test_what_is_built_for_another_processor_does_not() -> None:
    here = host_capabilities()
    other = "raspberry-pi-4" if here.arch == "x86_64" else "x86-64-v2"
    assert any("built for" in reason for reason in why_not_here(load_target(other)))
    host = load_target(HOST)
    picky = replace(host, cpu=replace(host.cpu, features=("no-such-feature",)))
    assert why_not_here(picky) == ("the device's processor lacks no-such-feature",)


def test_each_x86_level_includes_the_one_before() -> None:
    levels = [set(load_target(f"x86-64-v{level}").cpu.features) for level in (2, 3, 4)]
    assert levels[0] < levels[1] < levels[2]


def test_a_device_without_amx_is_not_sent_what_needs_it() -> None:
    newer, older = load_target("x86-64-v4-amx"), load_target("x86-64-v4-bf16")
    device = replace(host_capabilities(), arch="x86_64", os="linux", glibc="2.36", engines={"tvm": "1"})
    assert mismatches(newer.requirements, "tvm", "", replace(device, features=newer.cpu.features)) == ()
    assert mismatches(older.requirements, "tvm", "", replace(device, features=newer.cpu.features)) == ()
    assert mismatches(newer.requirements, "tvm", "", replace(device, features=older.cpu.features)) == (
        "the device's processor lacks amx_bf16, amx_tile",
    )


def test_a_machine_with_amx_multiplies_bfloat16_by_it() -> None:
    features = load_target("x86-64-v4-amx").cpu.features
    host = host_target(replace(read_host(), arch="x86_64", os="linux", features=features))
    assert BF16.feature(host.cpu) == "amx_bf16"
    assert {"+amx-tile", "+amx-bf16"} <= set(host.cpu.attrs)
    fewer = tuple(feature for feature in features if feature != "avx512_bf16")
    assert BF16.feature(replace(host.cpu, features=fewer)) is None  # pairs are needed beside the tiles


def test_a_raspberry_pi_5_runs_what_is_for_a_4_and_not_the_other_way_round() -> None:
    four, five = load_target("raspberry-pi-4"), load_target("raspberry-pi-5")
    device = replace(host_capabilities(), arch="aarch64", os="linux", glibc="2.36", engines={"tvm": "1"})
    assert mismatches(four.requirements, "tvm", "", replace(device, features=five.cpu.features)) == ()
    assert mismatches(five.requirements, "tvm", "", replace(device, features=four.cpu.features)) != ()


@pytest.mark.parametrize(("arch", "os"), [("riscv64", "linux"), ("x86_64", "darwin"), ("armv7l", "linux")])
def test_a_machine_that_no_engine_knows_is_told_so(arch: str, os: str) -> None:
    with pytest.raises(TargetError, match=f"this machine is {arch} {os}"):
        host_target(replace(read_host(), arch=arch, os=os))
