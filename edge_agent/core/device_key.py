"""The key with which this device signs what it says of itself, and where the numbers of its reports begin."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from edge_agent.documents import KEY, SCHEMA, check_schema
from neo.contract.fields import ContractError, dump_object, get_size, parse_object
from neo.durable import replace_file, translating_os_errors
from neo.errors import NeoError, TrustError
from neo.trust import load_signer

logger = logging.getLogger(__name__)

KEY_FILE = "device.key"
DAMAGED_KEY_FILE = "device.key.damaged"
EPOCH_FILE = "epoch.json"
SEQUENCE_BITS = 30  # reports of one start: 17 years at two a second
MAX_EPOCH = 1 << 33
MAX_CLOCK = 1 << 32  # a clock past 2106 is not believed, and leaves room for as many starts


@dataclass(frozen=True, slots=True)
class DeviceKey:
    #: None where no key can be kept; one that is gone with the process would be in the way of the next
    signer: CryptoSigner | None
    #: higher at every start
    epoch: int
    #: what the operator should hear
    notes: tuple[str, ...] = ()

    @property
    def first_sequence(self) -> int:
        """Of the reports of this start: above those of every start before."""
        return self.epoch << SEQUENCE_BITS


def open_device_key(state_dir: Path, unix: Callable[[], float] = time.time) -> DeviceKey:
    """The key, made at the first start. One that is damaged or lost is replaced, and that is told: whoever knows the
    old key does not believe the new one. Never raises: without a key the device still serves. unix: seconds.
    """
    notes: list[str] = []
    try:
        # before the epoch is written: its file without a key means that there was one
        signer = _load(state_dir, notes)
    except NeoError as error:
        logger.error("this device cannot keep a key, so it signs no reports: %s", error)  # noqa: TRY400  told, no traceback
        signer = None
    epoch = _next_epoch(state_dir / EPOCH_FILE, notes, unix())
    for note in notes:
        logger.error("%s", note)
    return DeviceKey(signer, epoch, tuple(notes))


def _load(state_dir: Path, notes: list[str]) -> CryptoSigner:
    path = state_dir / KEY_FILE
    if path.exists():
        try:
            return load_signer(path)
        except TrustError as error:
            notes.append("the key of this device was damaged, and it has a new one; the operator has to accept it")
            logger.error("%s", error)  # noqa: TRY400  told, no traceback
            with translating_os_errors(path):
                path.replace(state_dir / DAMAGED_KEY_FILE)
    elif (state_dir / EPOCH_FILE).exists():
        notes.append("the key of this device was lost, and it has a new one; the operator has to accept it")
    signer = CryptoSigner.generate_ed25519()
    replace_file(path, signer.private_bytes, 0o600)
    return signer


def _next_epoch(path: Path, notes: list[str], unix: float) -> int:
    """Above the one before, and not below the clock: so it rises if either the file or the clock is right."""
    before = 0
    try:
        obj = parse_object(path.read_bytes(), what=EPOCH_FILE)
        check_schema(obj, EPOCH_FILE)
        before = min(get_size(obj, "epoch", EPOCH_FILE), MAX_EPOCH - 2)
    except FileNotFoundError:
        pass
    except (ContractError, OSError) as error:
        notes.append("the count of this device's reports was damaged; if its clock is wrong too, they look old")
        logger.error("%s: %s", path, error)  # noqa: TRY400  told, no traceback
    epoch = max(before + 1, int(unix) if 0 <= unix < MAX_CLOCK else 0)
    try:
        replace_file(path, dump_object({KEY: SCHEMA, "epoch": epoch}))
    except NeoError as error:
        logger.error("cannot write %s: %s", path, error)  # noqa: TRY400  as above
    return epoch
