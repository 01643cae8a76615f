"""How units speak, and what their receivers are like: shares and intervals of a run."""

from __future__ import annotations

import enum

from simulator import ais_unit
from simulator.dice import Dice
from simulator.gnss_error import Receiver


class Payload(enum.Enum):
    """How a unit speaks."""

    JSON = "JSON"
    JSON_LIST = "JSON_LIST"
    MSGPACK = "MSGPACK"
    ROWS = "ROWS"
    """Compact MessagePack rows in an operator's batch."""
    OPERATOR_JSON = "OPERATOR_JSON"
    OWNTRACKS = "OWNTRACKS"
    SERIAL = "SERIAL"
    """NMEA on a serial line to the agent."""
    TELTONIKA = "TELTONIKA"
    """Codec 8E on TCP to the agent's listener."""
    AIS = "AIS"
    """A vessel, heard by the agent's AIS receiver."""


_PAYLOADS = (
    (Payload.JSON, 8.0),
    (Payload.JSON_LIST, 2.0),
    (Payload.MSGPACK, 4.0),
    (Payload.ROWS, 3.0),
    (Payload.OPERATOR_JSON, 2.0),
    (Payload.OWNTRACKS, 1.0),
)
_MANY_PAYLOADS = (
    (Payload.JSON, 12.0),
    (Payload.JSON_LIST, 3.0),
    (Payload.MSGPACK, 10.0),
    (Payload.ROWS, 60.0),
    (Payload.OPERATOR_JSON, 10.0),
    (Payload.OWNTRACKS, 5.0),
)
MANY_LORRIES = 400
"""From this number on lorries are those of large hauliers, three in four of which report through their platform
(choice): a country's traffic does not come as two thousand single connections."""
_INTERVALS_S = ((1.0, 86.0), (2.0, 4.0), (5.0, 8.0), (24.0, 1.0), (30.0, 1.0))
_PLATFORM_INTERVALS_S = ((1.0, 10.0), (2.0, 10.0), (5.0, 60.0), (10.0, 15.0), (30.0, 5.0))
"""Of large hauliers' platforms, which ask their units every few seconds and not every second (choice)."""
OPERATORS = ("alpenfleet", "rhein-telematik")


def payload_of(dice: Dice, number: int) -> Payload:
    """How the unit of a lorry speaks, if nothing else decides it."""
    return dice.weighted(_PAYLOADS if number < MANY_LORRIES else _MANY_PAYLOADS)


def receiver_of(dice: Dice, payload: Payload, number: int, *, quick: bool) -> Receiver:
    """Mostly good 1 s receivers.

    Args:
        dice: Of the lorry.
        payload: How its unit speaks.
        number: Of the lorry.
        quick: One of the good receivers of every second: the first lorries, so that the first GO comes soon.
    """
    if payload is Payload.AIS:
        return Receiver(interval_s=ais_unit.REPORT_EVERY_S, whole_seconds=True)
    serial = payload is Payload.SERIAL
    asked = number >= MANY_LORRIES and payload in (Payload.ROWS, Payload.OPERATOR_JSON)
    intervals = _PLATFORM_INTERVALS_S if asked else _INTERVALS_S
    interval_s = 1.0 if quick or serial or payload is Payload.OWNTRACKS else dice.weighted(intervals)
    return Receiver(
        interval_s=interval_s,
        reports_accuracy=not dice.chance(0.1),
        reports_speed=not dice.chance(0.1),
        freezes=dice.chance(0.5) and not quick,
        sticks=dice.chance(0.02) and not quick,
        duplicates=dice.chance(0.08) and not serial,
        disorder=dice.chance(0.06) and not serial and payload is not Payload.OWNTRACKS,
        gaps=dice.chance(0.15) and not quick,
        whole_seconds=payload is Payload.OWNTRACKS,
    )
