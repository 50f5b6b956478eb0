"""Where neo keeps its things on this machine, unless a flag or an environment variable says otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APP = "neo-edge"
DEFAULT_BROKER = "mqtt://127.0.0.1:1883"


def store_path() -> Path:
    """NEO_STORE, or the user's data folder."""
    return Path(os.environ.get("NEO_STORE") or Path(platformdirs.user_data_dir(APP)) / "store")


def key_path() -> Path:
    """NEO_KEY, or operator.key in the user's configuration folder."""
    return Path(os.environ.get("NEO_KEY") or Path(platformdirs.user_config_dir(APP)) / "operator.key")


def fleet_keys(fleet: str) -> Path:
    """NEO_FLEET_KEYS, or the fleet's folder of TUF keys in the user's configuration folder."""
    return Path(os.environ.get("NEO_FLEET_KEYS") or Path(platformdirs.user_config_dir(APP)) / "fleets" / fleet)


def fleet_db() -> str:
    """NEO_DB, a file or a database's URL; or fleet.db in the user's data folder."""
    return os.environ.get("NEO_DB") or str(Path(platformdirs.user_data_dir(APP)) / "fleet.db")


def broker_url() -> str:
    """NEO_BROKER, or the embedded broker on this machine."""
    return os.environ.get("NEO_BROKER") or DEFAULT_BROKER


def tuning_path() -> Path:
    """NEO_TUNING, or a folder in the user's cache: configurations of kernels that were measured."""
    return Path(os.environ.get("NEO_TUNING") or Path(platformdirs.user_cache_dir(APP)) / "tuning")
