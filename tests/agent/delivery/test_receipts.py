from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.receipts import ReceiptTimes, take
from agent.domain.instruction import Delivery, DeliveryStage

S = DeliveryStage
BOTH = (
    Delivery(instruction_id="i-1", version=1, stage=S.SUPERSEDED),
    Delivery(instruction_id="i-2", version=2, sent_s=10.0),
)


def test_moves_only_its_own_version():
    moved = take(BOTH, "i-2", 2, ReceiptTimes(11.0, 12.0, language="pl"))
    assert [one.stage for one in moved] == [S.SUPERSEDED, S.DISPLAYED]
    assert (moved[1].delivered_s, moved[1].displayed_s, moved[1].language) == (11.0, 12.0, "pl")
    assert moved[0] == BOTH[0]


def test_a_late_receipt_of_an_old_version_adds_times_only():
    moved = take(BOTH, "i-1", 1, ReceiptTimes(9.0, 9.5, 9.9))
    assert (moved[0].stage, moved[0].acknowledged_s) == (S.SUPERSEDED, 9.9)


def test_unknown_instruction():
    assert take(BOTH, "i-2", 1, ReceiptTimes(1.0)) is None
    assert take((), "i-1", 1, ReceiptTimes(1.0)) is None


def test_undelivered_can_still_arrive():
    late = (Delivery(instruction_id="i-1", version=1, stage=S.UNDELIVERED),)
    assert take(late, "i-1", 1, ReceiptTimes(20.0))[0].stage is S.DELIVERED


TIMES = st.builds(ReceiptTimes, *[st.none() | st.floats(0, 100)] * 3)
ORDER = [S.SENT, S.DELIVERED, S.DISPLAYED, S.ACKNOWLEDGED]


@given(st.lists(TIMES, max_size=6))
def test_never_goes_back_and_first_times_stay(receipts):
    deliveries = (Delivery(instruction_id="i-1", version=1),)
    for receipt in receipts:
        before = deliveries[0]
        deliveries = take(deliveries, "i-1", 1, receipt)
        assert ORDER.index(deliveries[0].stage) >= ORDER.index(before.stage)
        for name in ("delivered_s", "displayed_s", "acknowledged_s"):
            held = getattr(before, name)
            assert held is None or getattr(deliveries[0], name) == held
