"""Is everything in place? Each check finds one thing and says what to do about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neo.contract.precision import PRECISIONS
from neo.engines import ENGINES
from neo.errors import NeoError
from neo.frontends import COMPILE_EXTRA, FRONTENDS
from neo.isolation import confinement_here
from neo.isolation.network import NAMESPACE
from neo.link import BrokerUrl
from neo.runtime.load import ENGINES as OPENERS
from neo.settings import key_path, store_path
from neo.targets import HOST, load_target
from neo.trust import load_signer

OK, MISSING, BROKEN = "ok", "missing", "broken"
FREE_BYTES = 2 << 30
LINK_TIMEOUT_S = 120
CONNECT_S = 5.0
CONFINE_FIX = (
    "allow user namespaces (sysctl user.max_user_namespaces, or --security-opt seccomp=... in a container), or compile "
    "models that you do not trust on another machine"
)

# what must be there beside the engines
_COMPILE = ("onnx",)
_AGENT = ("paho-mqtt", "falcon", "waitress")
_FLEET = ("paho-mqtt", "sqlalchemy", "tuf")
_BROKER = ("amqtt", *_FLEET)
_DEMO = ("scikit-learn",)


@dataclass(frozen=True, slots=True)
class Finding:
    """state: ok, missing (an optional part is not there) or broken. fix: what to do, "" where nothing is needed."""

    check: str
    state: str
    found: str
    fix: str = ""


def examine(broker: BrokerUrl | None) -> tuple[Finding, ...]:
    """All checks, none of which changes anything. broker: also try to reach it."""
    findings = [_python(), _host(), *map(_finding, _parts()), _linker(), _confinement(), _folder(), _key()]
    if broker is not None:
        findings.append(_broker(broker))
    return tuple(findings)


def _python() -> Finding:
    version = platform.python_version()
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", OK, f"{version} at {sys.executable}")
    return Finding("python", BROKEN, version, "use Python 3.10 to 3.13")


def _host() -> Finding:
    def describe() -> str:
        target = load_target(HOST)
        special = [
            f"{precision.name} by {precision.feature(target.cpu)}"
            if precision.runs_on(target.cpu)
            else f"no {precision.name}"
            for precision in PRECISIONS.values()
            if precision.features
        ]
        return ", ".join([target.description, target.cpu.arch, f"{target.cpu.cores} cores", *special])

    return _guarded("this machine", describe)


@dataclass(frozen=True, slots=True)
class _Extra:
    """One extra of this package."""

    extra: str
    #: "a|b": either will do
    distributions: tuple[str, ...]
    optional: bool = False


def _parts() -> tuple[_Extra, ...]:
    built = [name for recipe in ENGINES.values() for name in recipe.distributions]
    opened = [opener.distribution for opener in OPENERS.values()]
    frameworks: dict[str, list[str]] = {}
    for row in FRONTENDS.values():
        if row.extra != COMPILE_EXTRA:
            frameworks.setdefault(row.extra, []).extend(row.distributions)
    return (
        _Extra(COMPILE_EXTRA, _unique(*_COMPILE, *opened, *built)),
        _Extra("agent", _unique(*opened, *_AGENT)),
        _Extra("fleet", _FLEET),
        _Extra("broker", _BROKER),
        _Extra("demo", _DEMO, optional=True),
        *(_Extra(extra, _unique(*names), optional=True) for extra, names in frameworks.items()),
    )


def _unique(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _finding(part: _Extra) -> Finding:
    extra = part.extra
    found: list[str] = []
    lacking: list[str] = []
    for names in part.distributions:
        version = next((v for name in names.split("|") if (v := _version(name)) is not None), None)
        name = names.split("|")[0]
        (lacking if version is None else found).append(name if version is None else f"{name} {version}")
    if not lacking:
        return Finding(f"[{extra}]", OK, ", ".join(found))
    state = MISSING if part.optional else BROKEN
    return Finding(f"[{extra}]", state, f"not installed: {', '.join(lacking)}", f"pip install 'neo-edge[{extra}]'")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _linker() -> Finding:
    """Links a function for this machine, as the tvm engine does."""
    if importlib.util.find_spec("ziglang") is None:
        return Finding("linker", BROKEN, "ziglang is not installed", "pip install 'neo-edge[compile]'")
    with tempfile.TemporaryDirectory(prefix="neo-doctor-") as folder:
        source = Path(folder) / "probe.c"
        source.write_text("int probe(void) { return 0; }\n", encoding="ascii")
        command = [sys.executable, "-m", "ziglang", "cc", "-shared", "-o", f"{folder}/probe.so", str(source)]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=LINK_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return Finding("linker", BROKEN, f"took more than {LINK_TIMEOUT_S} s", "is the machine overloaded?")
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()[-300:]
            return Finding("linker", BROKEN, said, "pip install --force-reinstall ziglang")
    return Finding("linker", OK, f"ziglang {_version('ziglang')}")


def _confinement() -> Finding:
    """What keeps a model's code in its place while it is converted, built and measured."""
    try:
        held = confinement_here()
    except NeoError as error:
        return Finding("confinement", BROKEN, error.message, error.hint)
    limits = f"memory at most {held.memory_bytes / 1e9:.0f} GB, files at most {held.file_bytes / 1e9:.0f} GB"
    if not held.network:
        return Finding("confinement", BROKEN, f"{limits}; the network can be reached: {held.refused}", CONFINE_FIX)
    means = "of its own without devices" if held.network == NAMESPACE else "sockets are refused"
    weaker = f" ({held.refused})" if held.refused else ""
    return Finding("confinement", OK, f"{limits}; network: {means}{weaker}")


def _folder() -> Finding:
    path = store_path()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding("store", BROKEN, f"{existing}: {error.strerror}", "set NEO_STORE to a folder you can write to")
    found = f"{path}, {free / 1e9:.1f} GB free"
    return Finding("store", OK, found) if free > FREE_BYTES else Finding("store", BROKEN, found, "free some space")


def _key() -> Finding:
    path = key_path()
    if not path.exists():
        return Finding("signing key", MISSING, f"none at {path}", "the first `neo compile` makes it")
    return _guarded("signing key", lambda: f"{path}, id {load_signer(path).public_key.keyid[:12]}")


def _broker(url: BrokerUrl) -> Finding:
    import queue

    from neo.link import Link

    def connect() -> str:
        link = Link(url, client_id="neo-doctor", subscriptions=(), inbox=queue.SimpleQueue())
        try:
            link.connect(CONNECT_S)
        finally:
            link.stop()
        return str(url)

    return _guarded("broker", connect)


def _guarded(check: str, find: Callable[[], str]) -> Finding:
    try:
        return Finding(check, OK, find())
    except NeoError as error:
        return Finding(check, BROKEN, error.message, error.hint)
