"""The agent's settings: from the command line, then from a TOML file with the same names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.serve.http import Listen
from neo.contract.device import parse_name
from neo.contract.fields import ContractError
from neo.contract.topics import DEFAULT_FLEET
from neo.errors import UsageError
from neo.link import BrokerUrl, Tls

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# option -> the type that a TOML file holds it in
KINDS: dict[str, type] = {
    "broker": str,
    "device-id": str,
    "state-dir": str,
    "trust": list,
    "listen": str,
    "fleet": str,
    "threads": int,
    "tls-ca": str,
    "tls-cert": str,
    "tls-key": str,
    "json": bool,
    "debug": bool,
}
PATHS = ("state-dir", "tls-ca", "tls-cert", "tls-key")
REQUIRED = ("broker", "device-id", "state-dir", "trust")
DEFAULT_LISTEN = "127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """threads: of the engine, None for every core. trust: files of public keys, at least one."""

    broker: BrokerUrl
    device_id: str
    state_dir: Path
    trust: tuple[Path, ...]
    listen: Listen
    fleet: str
    threads: int | None
    tls: Tls
    json: bool
    debug: bool


def read_config_file(path: Path) -> dict[str, Any]:
    """Option name -> value; paths are relative to the file's folder. Raises UsageError that names the key."""
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="give an existing file to --config") from error
    except ValueError as error:  # bad TOML and bad UTF-8
        raise UsageError(f"{path} is not TOML: {error}") from error
    for key, value in values.items():
        if key not in KINDS:
            raise UsageError(f"{path} has an unknown key {key!r}", hint=f"known keys: {', '.join(KINDS)}")
        # bool is an int, and only here
        if not isinstance(value, KINDS[key]) or (KINDS[key] is int and isinstance(value, bool)):
            raise UsageError(f"{key!r} in {path} should be {KINDS[key].__name__}, found {type(value).__name__}")
    folder = path.parent
    for key in PATHS:
        if key in values:
            values[key] = str(folder / values[key])
    if "trust" in values:
        if not all(isinstance(item, str) for item in values["trust"]):
            raise UsageError(f"'trust' in {path} should be a list of file names")
        values["trust"] = [str(folder / item) for item in values["trust"]]
    return values


def make_config(given: Mapping[str, Any], config_file: Path | None) -> AgentConfig:
    """given: option name -> value, for what stands on the command line; it wins. Raises UsageError."""
    values = {**(read_config_file(config_file) if config_file else {}), **given}
    missing = [key for key in REQUIRED if not values.get(key)]
    if missing:
        raise UsageError(
            f"missing: {', '.join('--' + key for key in missing)}",
            hint="give them on the command line, or in a TOML file with --config",
        )
    threads = values.get("threads")
    if threads is not None and threads < 1:
        raise UsageError(f"--threads is {threads}; at least 1 is needed")
    return AgentConfig(
        broker=BrokerUrl.parse(values["broker"]),
        device_id=_name(values["device-id"], "--device-id"),
        state_dir=Path(values["state-dir"]),
        trust=tuple(map(Path, values["trust"])),
        listen=Listen.parse(values.get("listen", DEFAULT_LISTEN)),
        fleet=_name(values.get("fleet", DEFAULT_FLEET), "--fleet"),
        threads=threads,
        tls=Tls(*(None if values.get(key) is None else Path(values[key]) for key in ("tls-ca", "tls-cert", "tls-key"))),
        json=bool(values.get("json", False)),
        debug=bool(values.get("debug", False)),
    )


def _name(text: str, option: str) -> str:
    try:
        return parse_name(text, option)
    except ContractError as error:
        raise UsageError(error.message, hint=error.hint) from error
