from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.ingest.intake import (
    GAP_PATIENCE_S,
    MAX_GAPS,
    Cursor,
    Gap,
    Verdict,
    judge,
    restored,
    stored_gaps,
    watermark,
)
from zones.fix import Fix

NOW_S = 1_795_000_000.0


def fix(seq: int | None, at_s: float | None = None, boot_id: str | None = "b1", received_s: float = NOW_S) -> Fix:
    time_s = NOW_S - 1000 + (seq or 0) if at_s is None else at_s
    return Fix("U-1", time_s, 47.0, 8.0, received_s, seq=seq, boot_id=boot_id)


def feed(*fixes: Fix, cursor: Cursor | None = None) -> tuple[list[Verdict], Cursor]:
    verdicts = []
    for one in fixes:
        verdict, cursor = judge(cursor, one)
        verdicts.append(verdict)
    assert cursor is not None
    return verdicts, cursor


A, R, S = Verdict.ACCEPT, Verdict.REPEAT, Verdict.STALE_BOOT


@given(st.lists(st.integers(0, 60), min_size=1, max_size=120))
@settings(max_examples=200)
def test_each_seq_is_accepted_exactly_once_in_any_order(seqs: list[int]) -> None:
    verdicts, cursor = feed(*(fix(seq) for seq in seqs))
    seen: set[int] = set()
    for seq, verdict in zip(seqs, verdicts, strict=True):
        assert (verdict is A) == (seq not in seen), seq
        seen.add(seq)
    missing = {seq for gap in cursor.gaps for seq in range(gap.first, gap.last + 1)}
    assert missing == set(range(cursor.highest)) - seen


@given(st.lists(st.integers(0, 60), min_size=1, max_size=60), st.integers(0, 59))
@settings(max_examples=150)
def test_a_cursor_from_the_journal_judges_as_before(seqs: list[int], cut: int) -> None:
    _, whole = feed(*(fix(seq) for seq in seqs))
    _, before = feed(*(fix(seq) for seq in seqs[: cut + 1]))
    again = restored("U-1", before.boot_id, before.highest, stored_gaps(before), before.last_fix_ms, NOW_S)
    after = feed(*(fix(seq) for seq in seqs[cut + 1 :]), cursor=again)[1] if seqs[cut + 1 :] else again
    assert (after.highest, stored_gaps(after)) == (whole.highest, stored_gaps(whole))


def test_a_restart_takes_no_watermark_back() -> None:
    """A unit whose numbers begin at 1 leaves a gap at 0 that nobody will ever fill."""
    _, cursor = feed(*(fix(seq, NOW_S + seq, received_s=NOW_S + seq) for seq in range(1, 50)))
    assert watermark(cursor, None, NOW_S + 29.0) is None
    assert watermark(cursor, None, NOW_S + 49.0) == 49
    again = restored("U-1", "b1", cursor.highest, stored_gaps(cursor), cursor.last_fix_ms, NOW_S + 60.0)
    assert watermark(again, None, NOW_S + 60.0) == 49


def test_a_young_gap_waits_on_after_a_restart_however_long_it_took() -> None:
    _, cursor = feed(*(fix(seq, NOW_S + seq, received_s=NOW_S + seq) for seq in (0, 1, 2, 5, 6)))
    again = restored("U-1", "b1", cursor.highest, stored_gaps(cursor), cursor.last_fix_ms, NOW_S + 600.0)
    assert watermark(again, None, NOW_S + 620.0) == 2
    assert watermark(again, None, NOW_S + 631.0) == 6


@given(st.lists(st.integers(0, 60), min_size=1, max_size=60), st.none() | st.integers(0, 60))
@settings(max_examples=150)
def test_the_watermark_never_covers_what_is_not_processed(seqs: list[int], held: int | None) -> None:
    _, cursor = feed(*(fix(seq) for seq in seqs))
    up_to = watermark(cursor, held, NOW_S)
    covered = set(range((-1 if up_to is None else up_to) + 1))
    assert covered <= set(seqs)
    assert held is None or held not in covered


def test_a_backlog_after_live_fixes_is_new() -> None:
    assert feed(fix(100), fix(101), fix(3), fix(4), fix(3))[0] == [A, A, A, A, R]


def test_a_lower_seq_with_a_later_time_is_a_restart_without_boot_id_and_a_repeat_with_one() -> None:
    late = NOW_S - 1
    without = [fix(500, boot_id=None), fix(500, boot_id=None), fix(1, late, None), fix(2, late + 0.5, None)]
    assert feed(*without)[0] == [A, R, A, A]
    _, cursor = feed(fix(500), fix(499))
    assert judge(cursor, fix(500, late))[0] is R


def test_a_new_boot_is_taken_and_the_old_one_is_not_replayed() -> None:
    verdicts, cursor = feed(fix(10, NOW_S - 60), fix(1, NOW_S - 50, "b2"), fix(11, NOW_S - 59), fix(10, NOW_S - 60))
    assert verdicts == [A, A, S, S]
    assert (cursor.boot_id, cursor.highest) == ("b2", 1)


def test_a_fix_from_the_future_does_not_hide_a_restart() -> None:
    verdicts, _ = feed(
        fix(9, NOW_S + 1_000_000, None),
        fix(1, NOW_S + 20, None, NOW_S + 20),
        fix(2, NOW_S + 21, None, NOW_S + 21),
    )
    assert verdicts == [A, A, A]


def test_units_without_seq_count_by_fix_time_and_get_no_watermark() -> None:
    verdicts, cursor = feed(
        fix(None, NOW_S - 9),
        fix(None, NOW_S - 8),
        fix(None, NOW_S - 9),
        fix(None, NOW_S - 8.5),
        fix(None, NOW_S - 8.5),
    )
    assert verdicts == [A, A, R, A, R]
    assert watermark(cursor, None, NOW_S + 100) is None


def test_gaps_are_bounded_and_the_oldest_is_given_up() -> None:
    _, cursor = feed(*(fix(2 * n, received_s=NOW_S + n) for n in range(1, 200)))
    assert len(cursor.gaps) == MAX_GAPS
    assert cursor.gaps[-1] == Gap(397, 397, round((NOW_S + 199) * 1000))
    assert judge(cursor, fix(3))[0] is R, "given up"
    assert judge(cursor, fix(397))[0] is A


def test_by_time_a_backlog_is_new_however_many_live_fixes_came_before() -> None:
    """Every fix leaves a gap there: given up like others, the backlog would be refused."""
    live = [fix(None, NOW_S - 300 + n) for n in range(200)]
    backlog = [fix(None, NOW_S - 900 + n) for n in range(300)]
    verdicts, cursor = feed(*live, *backlog)
    assert verdicts == [A] * 500 and len(cursor.gaps) <= MAX_GAPS
    assert {judge(cursor, one)[0] for one in live[-MAX_GAPS + 1 :]} == {R}, "the newest are remembered"


def test_many_splits_of_one_gap_stay_bounded() -> None:
    _, cursor = feed(fix(1_000), *(fix(n) for n in range(999, 0, -2)))
    assert len(cursor.gaps) <= MAX_GAPS


def test_an_old_gap_no_longer_holds_the_watermark_back() -> None:
    _, cursor = feed(fix(0), fix(1), fix(5))
    assert watermark(cursor, None, NOW_S) == 1
    assert watermark(cursor, None, NOW_S + GAP_PATIENCE_S + 0.001) == 5
    assert watermark(cursor, 4, NOW_S + GAP_PATIENCE_S + 0.001) == 3
    assert watermark(feed(fix(7))[1], None, NOW_S) is None
