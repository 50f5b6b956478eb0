"""Which devices a bundle is assigned to."""

from __future__ import annotations

from neo.contract.device import mismatches
from neo.errors import DeviceError
from neo.fleet.inventory import Inventory
from neo.fleet.records import DeviceRecord
from neo.fleet.request import ALL_DEVICES, PushRequest
from neo.store.bundles import Bundle


def choose_devices(bundle: Bundle, request: PushRequest, inventory: Inventory) -> tuple[str, ...]:
    """The ids to assign to, each once.

    Raises IncompleteInventory if all devices are wanted, or one that is not in the list, and the list may lack some;
    DeviceError for an unknown device or one that the bundle does not fit.
    """
    records = inventory.records
    wants_all = ALL_DEVICES in request.devices
    if wants_all and not inventory.is_complete and not request.partial:
        raise inventory.incomplete(
            f"{bundle.manifest.reference} is not assigned to all devices",
            hint="name the devices, or add --partial to assign it to those that are listed; see docs/brokers.md",
        )
    wanted = sorted(records) if wants_all else list(dict.fromkeys(request.devices))
    if not wanted:
        raise DeviceError(
            f"no device has connected in fleet {request.fleet!r} yet",
            hint="start one with: neo-agent --broker URL --device-id ID --state-dir DIR",
        )
    unknown = [device for device in wanted if device not in records]
    if unknown and not request.force:
        raise _unknown(unknown, inventory)
    misfits = {device: reasons for device in wanted if (reasons := _reasons(bundle, records.get(device)))}
    if misfits:
        listed = "; ".join(f"{device}: {', '.join(reasons)}" for device, reasons in misfits.items())
        raise DeviceError(
            f"{bundle.manifest.reference} does not fit {listed}",
            hint="compile the model for that device: neo compile MODEL --target ...; neo targets lists them",
            details={"devices": {device: list(reasons) for device, reasons in misfits.items()}},
        )
    return tuple(wanted)


def _unknown(devices: list[str], inventory: Inventory) -> Exception:
    named = f"unknown device {', '.join(devices)}"
    known = ", ".join(sorted(inventory.records))
    hint = (f"known are: {known}" if known else "no device has connected yet") + "; --force assigns all the same"
    if not inventory.is_complete:
        return inventory.incomplete(named, hint=hint)
    return DeviceError(named, hint=hint, details={"known": sorted(inventory.records)})


def _reasons(bundle: Bundle, record: DeviceRecord | None) -> tuple[str, ...]:
    if record is None or record.capabilities is None:
        return ()  # the device checks for itself
    manifest = bundle.manifest
    return mismatches(manifest.requires, manifest.engine, manifest.engine_version, record.capabilities)
