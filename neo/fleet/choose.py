"""Which devices get a release, and which variant of it each of them gets."""

from __future__ import annotations

from collections.abc import Mapping

from neo.errors import DeviceError
from neo.fleet.inventory import Inventory
from neo.fleet.keyring import Trust
from neo.fleet.listing import MOST_IN_A_HINT, listed
from neo.fleet.records import DeviceRecord
from neo.fleet.request import ALL_DEVICES, PushRequest
from neo.fleet.variants import Choice, Misfits, choose_variant, misfits
from neo.store.releases import Release

_UNTOLD = "the device has not said what it is"


def choose_variants(release: Release, request: PushRequest, inventory: Inventory) -> dict[str, Choice]:
    """The ids to assign to, each once, with the best variant that fits the device.

    All devices are those that were not revoked. Raises IncompleteInventory if all are wanted, or one that is not in the
    list, and the list may lack some; DeviceError for an unknown or revoked device, or one that no variant fits.
    """
    records = inventory.records
    wanted = _wanted_devices(release, request, inventory)
    choices: dict[str, Choice] = {}
    unfit: dict[str, Misfits] = {}
    for device in wanted:
        choice = _choose(release, records.get(device))
        if isinstance(choice, Choice):
            choices[device] = choice
        else:
            unfit[device] = choice
    if unfit:
        raise _does_not_fit(release, unfit)
    return choices


def _wanted_devices(release: Release, request: PushRequest, inventory: Inventory) -> tuple[str, ...]:
    records = inventory.records
    wants_all = ALL_DEVICES in request.devices
    if wants_all and not inventory.is_complete and not request.partial:
        raise inventory.incomplete(
            f"{release.reference} is not assigned to all devices",
            hint="name the devices, or add --partial to assign it to those that are listed; see docs/brokers.md",
        )
    revoked = {device for device, record in records.items() if record.trust is Trust.REVOKED}
    wanted = sorted(records.keys() - revoked) if wants_all else list(dict.fromkeys(request.devices))
    if refused := [device for device in wanted if device in revoked]:
        raise DeviceError(
            f"nothing is assigned to {listed(refused, MOST_IN_A_HINT)}, whose key was revoked",
            hint="once the device has a new key: neo fleet forget DEVICE, and its next key is believed",
        )
    if not wanted:
        raise DeviceError(
            f"no device has connected in fleet {request.fleet!r} yet",
            hint="start one with: neo-agent --broker URL --device-id ID --state-dir DIR",
        )
    unknown = [device for device in wanted if device not in records]
    if unknown and not request.force:
        raise _unknown(unknown, inventory)
    return tuple(wanted)


def _choose(release: Release, record: DeviceRecord | None) -> Choice | Misfits:
    """-> the choice, or why each variant is none."""
    variants = release.variants
    if record is None or record.capabilities is None:
        if len(variants) == 1:
            return Choice(variants[0], f"the only variant; {_UNTOLD}, and checks for itself")
        return {variant.reference: (_UNTOLD,) for variant in variants}
    return choose_variant(variants, record.capabilities) or misfits(variants, record.capabilities)


def _does_not_fit(release: Release, unfit: Mapping[str, Misfits]) -> DeviceError:
    """Every device with the reasons, variant by variant."""
    if len(release.variants) == 1:
        said = "; ".join(f"{device}: {', '.join(*reasons.values())}" for device, reasons in unfit.items())
        message = f"{release.reference} does not fit {said}"
    else:
        said = "; ".join(f"{device} ({_by_variant(reasons)})" for device, reasons in unfit.items())
        message = f"no variant of {release.reference} fits {said}"
    untold = all(why == (_UNTOLD,) for found in unfit.values() for why in found.values())
    return DeviceError(
        message,
        hint=f"name the variant, as in: neo push {release.variants[0].reference} --to {next(iter(unfit))}"
        if untold
        else "compile the model for that device too: neo compile MODEL --target ...; neo targets lists them",
        details={"devices": {device: {k: list(v) for k, v in found.items()} for device, found in unfit.items()}},
    )


def _by_variant(reasons: Misfits) -> str:
    return "; ".join(f"{reference}: {', '.join(found)}" for reference, found in reasons.items())


def _unknown(devices: list[str], inventory: Inventory) -> Exception:
    named = f"unknown device {listed(devices, MOST_IN_A_HINT)}"
    known = listed(sorted(inventory.records), MOST_IN_A_HINT)
    hint = (f"known are: {known}" if known else "no device has connected yet") + "; --force assigns all the same"
    if not inventory.is_complete:
        return inventory.incomplete(named, hint=hint)
    return DeviceError(named, hint=hint, details={"known": sorted(inventory.records)})
