"""Targets by name: ``targets/*.toml``, and "host", which is this machine as it describes itself."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import neo
from neo.contract.device import Capabilities, Processor, Target, is_name, mismatches
from neo.contract.fields import ContractError
from neo.errors import TargetError
from neo.runtime import engine_versions
from neo.runtime.host import Host, read_host

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HOST = "host"
# the oldest C library that the engines' own wheels load on
GLIBC_FLOOR = "2.28"

# where LLVM's name of a feature is not Linux's
_LLVM_NAMES = {
    "x86_64": {
        "pni": "sse3",
        "sse4_1": "sse4.1",
        "sse4_2": "sse4.2",
        "abm": "lzcnt",
        "lahf_lm": "sahf",
        "bmi1": "bmi",
        "avx512_vnni": "avx512vnni",
        "avx512_bf16": "avx512bf16",
        "avx512_fp16": "avx512fp16",
        "avx512_vbmi2": "avx512vbmi2",
        "avx_vnni": "avxvnni",
        "amx_tile": "amx-tile",
        "amx_int8": "amx-int8",
        "amx_bf16": "amx-bf16",
        "amx_fp16": "amx-fp16",
    },
    "aarch64": {
        "fp": "fp-armv8",
        "asimd": "neon",
        "fphp": "fullfp16",
        "asimdhp": "fullfp16",
        "asimddp": "dotprod",
        "asimdfhm": "fp16fml",
        "atomics": "lse",
        "crc32": "crc",
    },
}
_BASE_CPU = {"x86_64": "x86-64", "aarch64": "generic"}


def load_target(name: str) -> Target:
    """A target by name, or the path of a .toml file. Raises TargetError that lists the names there are."""
    if name == HOST:
        return host_target(read_host())
    path = Path(name) if name.endswith(".toml") else _folder() / f"{name}.toml"
    if not (name.endswith(".toml") or is_name(name)) or not path.is_file():
        names = [HOST, *(target.name for target in list_targets())]
        close = difflib.get_close_matches(name, names, 1)
        raise TargetError(
            f"unknown target {name[:200]!r}",
            hint=(f"did you mean {close[0]!r}? " if close else "")
            + f"known targets: {', '.join(names)}; or a .toml file",
        )
    return _read(path)


def list_targets() -> tuple[Target, ...]:
    """All that come with the package, without "host"."""
    return tuple(_read(path) for path in sorted(_folder().glob("*.toml")))


def host_target(host: Host) -> Target:
    """The machine we are on. Raises TargetError on an operating system or processor that no engine supports."""
    if host.os != "linux" or host.arch not in _BASE_CPU:
        raise TargetError(
            f"this machine is {host.arch} {host.os}; models are compiled for x86_64 and aarch64 Linux",
            hint="name a target: neo targets",
        )
    names = _LLVM_NAMES[host.arch]
    # sve code would be of one register length only; the schedules use NEON
    features = tuple(f for f in host.features if not f.startswith("sve"))
    wide = "avx512f" in features
    return Target(
        name=HOST,
        description=host.model_name,
        cpu=Processor(
            arch=host.arch,
            mcpu=_BASE_CPU[host.arch],
            features=features,
            attrs=tuple(dict.fromkeys("+" + names.get(feature, feature) for feature in features)),
            vector_bits=512 if wide else 256 if "avx2" in features else 128,
            vector_registers=32 if wide or host.arch == "aarch64" else 16,
            cores=host.cores,
            l1d_kib=host.l1d_kib,
            l2_kib=host.l2_kib,
            l3_kib=host.l3_kib,
        ),
        glibc=GLIBC_FLOOR,
    )


def host_capabilities() -> Capabilities:
    """What an agent on this machine would say of it (without storage)."""
    host = read_host()
    return Capabilities(
        HOST,
        neo.__version__,
        host.arch,
        host.os,
        host.glibc,
        host.features,
        host.cores,
        host.memory_bytes,
        0,
        engine_versions(),
    )


def why_not_here(target: Target) -> tuple[str, ...]:
    """Why code for the target cannot run, and be measured, on this machine; () if it can."""
    here = host_capabilities()
    return mismatches(target.requirements, next(iter(here.engines), ""), "", here)


def _folder() -> Path:
    package = Path(neo.__file__).parent
    installed = package / "data" / "targets"
    return installed if installed.is_dir() else package.parent / "targets"


def _read(path: Path) -> Target:
    try:
        with path.open("rb") as file:
            return Target.from_json(tomllib.load(file))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise TargetError(
            f"{path} cannot be read: {error}", hint="it should be TOML like those of neo targets"
        ) from error
    except ContractError as error:
        raise TargetError(f"{path}: {error.message}", hint=error.hint) from error
