"""Receipts: sent, delivered, displayed, acknowledged, or not (design/domain.md section 5, machine I)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from agent.domain.instruction import Delivery, DeliveryStage

_RANK = {
    DeliveryStage.UNDELIVERED: -1,
    DeliveryStage.SENT: 0,
    DeliveryStage.DELIVERED: 1,
    DeliveryStage.DISPLAYED: 2,
    DeliveryStage.ACKNOWLEDGED: 3,
}
"""Order of the stages a receipt may move; SUPERSEDED and EXPIRED keep their name, only times are added."""


@dataclass(frozen=True)
class ReceiptTimes:
    """What a receipt says, UTC seconds."""

    delivered_s: float | None = None
    displayed_s: float | None = None
    acknowledged_s: float | None = None
    language: str | None = None


def take(
    deliveries: tuple[Delivery, ...], instruction_id: str, version: int, times: ReceiptTimes
) -> tuple[Delivery, ...] | None:
    """The deliveries after a receipt, which moves only its own version; None if it names none of them."""
    if not any(one.version == version and one.instruction_id == instruction_id for one in deliveries):
        return None
    return tuple(_moved(one, times) if one.version == version else one for one in deliveries)


def _moved(delivery: Delivery, times: ReceiptTimes) -> Delivery:
    """First times stay: one acknowledgement by any crew device is enough."""
    delivered_s = _first(delivery.delivered_s, times.delivered_s)
    displayed_s = _first(delivery.displayed_s, times.displayed_s)
    acknowledged_s = _first(delivery.acknowledged_s, times.acknowledged_s)
    reached = DeliveryStage.SENT
    if acknowledged_s is not None:
        reached = DeliveryStage.ACKNOWLEDGED
    elif displayed_s is not None:
        reached = DeliveryStage.DISPLAYED
    elif delivered_s is not None:
        reached = DeliveryStage.DELIVERED
    forward = delivery.stage in _RANK and _RANK[reached] > _RANK[delivery.stage]
    return msgspec.structs.replace(
        delivery,
        stage=reached if forward else delivery.stage,
        delivered_s=delivered_s,
        displayed_s=displayed_s,
        acknowledged_s=acknowledged_s,
        language=times.language or delivery.language,
    )


def _first(known_s: float | None, said_s: float | None) -> float | None:
    return said_s if known_s is None else known_s
