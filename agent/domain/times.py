"""UTC times: seconds inside, RFC 3339 with milliseconds in JSON, epoch milliseconds in MessagePack."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(time_s: float) -> str:
    """`2026-11-22T10:00:00.000Z`, rounded to the millisecond."""
    moment = datetime.fromtimestamp(round(time_s * 1000) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch_s(value: str | int | float) -> float:
    """UTC seconds from RFC 3339 text or epoch milliseconds; either form is accepted on input.

    Raises:
        ValueError: neither form, or text without a zone.
    """
    if isinstance(value, bool):
        raise ValueError(f"time {value!r}: expected RFC 3339 or epoch milliseconds")
    if isinstance(value, int | float):
        return value / 1000.0
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(f"time {value!r}: expected a zone, such as Z")
    return moment.timestamp()
