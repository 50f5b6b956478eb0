"""The one tree of errors that users see.

::

    NeoError                      exit code
     +-- UsageError                  2   the command line or an argument is off
     +-- ModelError                 10   the file is no model we can read, or it is damaged
     |    +-- UnsupportedModel      11   a model, but with an operator or layer we cannot convert
     |    +-- InputSpecError        12   --input/--dim missing, unknown or of the wrong shape
     |    +-- UntrustedModel        13   reading it would run code from the file
     |    +-- ParityError           14   the converted model does not answer like the source
     +-- MissingDependency          15   a library that this step needs is not installed
     +-- ResourceLimitExceeded      16   conversion ran out of its memory, time or file size
     +-- TargetError                20   unknown target, or a bundle that does not fit a device
     +-- EngineError                21   an engine cannot build or run this model
     +-- StoreError                 30   a reference or blob is missing or damaged
     |    +-- DiskFull              31
     +-- BundleError                32   a bundle is not what its manifest says
     +-- ContractError              33   a document or message is not what its format says
     |    +-- NewerFormat           34   it is, but by a later version of neo-edge
     +-- DatabaseError              35   the operator's database cannot be used
     +-- TrustError                 40   unsigned, wrongly signed, or a key that cannot be used
     |    +-- NotReleased           41   nobody whom this device trusts has released it, as far as it knows yet
     +-- BrokerError                50   the MQTT broker cannot be reached or refuses us
     |    +-- QueueFull             50   more messages wait for it than are kept
     +-- TransferError              51   the other side sent nothing, or the wrong bytes
     +-- DeviceError                52   a device refused or failed
     |    +-- DeviceIdInUse         53   two agents with one id
     +-- WaitTimeout                54   nobody failed, but it took too long
     +-- IncompleteInventory        55   the list of devices may lack some, and all of them were asked for

Every error carries ``hint``: what to do next. Errors cross processes and MQTT as JSON and come back as the
same class.
"""

from __future__ import annotations

from typing import Any, ClassVar


class NeoError(Exception):
    """A failure that a user can understand and act upon.

    message: what was found and what was expected. hint: the next thing to do, "" if there is none.
    details: JSON-serialisable facts for programs (node names, shapes, sizes).
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details or {}

    def to_json(self) -> dict[str, Any]:
        return {"error": type(self).__name__, "message": self.message, "hint": self.hint, "details": self.details}

    @staticmethod
    def from_json(value: dict[str, Any]) -> NeoError:
        """The error that ``to_json`` wrote; an unknown class name becomes a plain NeoError."""
        classes: dict[str, type[NeoError]] = {}
        pending: list[type[NeoError]] = [NeoError]
        while pending:
            known = pending.pop()
            classes[known.__name__] = known
            pending.extend(known.__subclasses__())
        details = value.get("details")
        return classes.get(str(value.get("error")), NeoError)(
            str(value.get("message", "")),
            hint=str(value.get("hint", "")),
            details=details if isinstance(details, dict) else None,
        )


class UsageError(NeoError):
    exit_code = 2


class ModelError(NeoError):
    exit_code = 10


class UnsupportedModel(ModelError):
    exit_code = 11


class InputSpecError(ModelError):
    exit_code = 12


class UntrustedModel(ModelError):
    exit_code = 13


class ParityError(ModelError):
    exit_code = 14


class MissingDependency(NeoError):
    exit_code = 15


class ResourceLimitExceeded(NeoError):
    exit_code = 16


class TargetError(NeoError):
    exit_code = 20


class EngineError(NeoError):
    exit_code = 21


class StoreError(NeoError):
    exit_code = 30


class DiskFull(StoreError):
    exit_code = 31


class BundleError(NeoError):
    exit_code = 32


class DatabaseError(NeoError):
    exit_code = 35


class TrustError(NeoError):
    exit_code = 40


class NotReleased(TrustError):
    exit_code = 41


class BrokerError(NeoError):
    exit_code = 50


class QueueFull(BrokerError):
    """Of one message that was not sent; the connection may be as it was."""


class TransferError(NeoError):
    exit_code = 51


class DeviceError(NeoError):
    exit_code = 52


class DeviceIdInUse(DeviceError):
    exit_code = 53


class WaitTimeout(NeoError):
    exit_code = 54


class IncompleteInventory(NeoError):
    exit_code = 55
