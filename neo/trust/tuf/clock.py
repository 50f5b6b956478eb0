"""Which time the expiry of signed metadata is held against, on devices whose clock may be wrong.

Every root and timestamp says when it was signed. A clock below the newest such time, or more than two years above it,
is wrong; then nothing expires, and versions that only rise protect alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from tuf.api.metadata import Signed

#: in the signed part of metadata; seconds since 1970 as a whole number. TUF lets other readers pass over it
SIGNED_AT = "x-neo-edge-signed-at"
MOST_AHEAD = timedelta(days=2 * 365)
#: the operator's clock and a device's may differ by this much and both count as right
SKEW = timedelta(minutes=5)
_LATEST = datetime(9000, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class TrustedTime:
    #: what expiry is held against
    at: datetime
    #: why the clock is not believed; "" if it is
    doubt: str = ""


def now() -> datetime:
    return datetime.now(timezone.utc)


def signed_at(signed: Signed) -> datetime | None:
    """When it says that it was signed; None if it does not, as metadata of other tools."""
    seconds = signed.unrecognized_fields.get(SIGNED_AT)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds < _LATEST.timestamp():
        return None
    return datetime.fromtimestamp(seconds, timezone.utc)


def trusted_time(clock: datetime, newest_signed: datetime | None) -> TrustedTime:
    """newest_signed: the latest time in metadata whose signatures were verified; None if there is none."""
    if newest_signed is None or newest_signed <= clock <= newest_signed + MOST_AHEAD:
        return TrustedTime(clock)
    if newest_signed - SKEW <= clock < newest_signed:
        return TrustedTime(newest_signed)
    side = "before" if clock < newest_signed else "more than two years after"
    return TrustedTime(
        newest_signed,
        f"the clock says {clock:%Y-%m-%d %H:%M} UTC, {side} the newest signed time {newest_signed:%Y-%m-%d %H:%M} UTC",
    )
