"""The words of an explanation: one short sentence for each rule, for people who know borders, not programs."""

from __future__ import annotations

from agent.domain.times import rfc3339
from zones.border_zone import BorderZone, ZoneKind
from zones.events import NoticeName

ZONE = {
    ZoneKind.TRACKING: "tracking zone",
    ZoneKind.ACTIVATION: "activation zone",
    ZoneKind.CONFIRMATION: "confirmation zone",
}

OUTCOME = {
    "used": "used",
    "reject": "used; no zone within reach",
    "steady": "used; in the same zones as before",
    "frozen": "same position as before: time goes on, no new proof",
    "unusable": "too inaccurate to decide on",
    "suspect": "not believed yet: no vehicle gets there so fast, others must agree",
    "adopted": "believed now, since the fixes before it agree",
    "jump": "a leap; counted, not followed",
}
"""What a fix that was taken came to (`zones.step.Outcome`)."""

ESTIMATED = "estimated by the unit, not measured: never counts"
"""Instead of `unusable` for dead reckoning, time-only receivers and the like."""

VERDICT = {
    "accepted": "used",
    "held": "held back: a report before it was missing",
    "duplicate": "the same report or moment again; ignored",
    "late": "came late; counts only where a gap was open",
    "refused": "refused",
}
"""Where the outcome is not known (`zones.detector.Verdict`)."""

NOTICE = {
    NoticeName.CLOCK_FAULT: "clock of the unit is wrong",
    NoticeName.JUMP: "a position leapt and was dropped",
    NoticeName.SUSPECT_INSIDE: "a position no vehicle could have reached lay in the activation zone",
    NoticeName.FROZEN: "the receiver repeats one position while it reports speed",
    NoticeName.POSSIBLE_PASSAGE: "may have passed between two fixes, too far apart in time or way to count",
    NoticeName.STALE: "no fix for a while",
    NoticeName.LOST: "lost: no fix for a long while",
    NoticeName.LATE_EVIDENCE: "found in fixes that came late",
    NoticeName.PASS_CONFIRMED: "late fixes prove the entry that had only touched the zone",
    NoticeName.ADOPTED_INSIDE: "was inside when a new zone file came into force; this is no entry",
    NoticeName.ZONE_RETIRED: "the zone ended with a new zone file while the unit was in it",
}

RULE = {
    "WHOLE_CIRCLE": "its whole accuracy circle lies in the zone",
    "TWO_FIXES": "the second fix in a row in the zone, near its edge",
    "DWELL": "in the zone, near its edge, for as long as is asked",
    "PASSED": "no fix inside: the straight line between the two leads through the zone",
    "FIRST_FIX": "its first usable fix; the approach was not seen",
    "TOUCH": "stayed within its accuracy of the edge and left again: this is no entry",
    "OUTSIDE": "outside by more than the margin, or driving away",
}

IGNORED = {
    "CONTRARY": "against the direction of the zone: no effect",
    "CLOSE_PAIR": "passed between two fixes without a known direction, close to another crossing: no effect",
    "REPEATED": "in the same passage: no effect",
    "OUT_OF_SEQUENCE": "does not fit the passage: no effect",
}

HELD = {
    "UNKNOWN_VEHICLE": "no journey names this unit",
    "AMBIGUOUS_JOURNEY": "two journeys of this unit could be meant",
    "WRONG_CROSSING": "its journey is for another crossing",
    "OFFICE_CLOSED": "the customs office was closed",
    "NOT_COMPETENT": "the customs office may not handle these declarations",
    "NOT_READY": "the journey was not ready",
    "DUPLICATE_JRN": "another vehicle has activated this journey",
    "DUPLICATE_VEHICLE": "the same vehicle is at another crossing",
    "SELF_REPORTED_GOODS": "the driver reported extra goods",
    "EMPTY_MRN_MISSING": "it declared an empty run for want of an MRN",
    "CLOCK_UNTRUSTED": "the clock could not be trusted",
    "PRESENCE_UNCONFIRMED": "its presence is not confirmed",
}
"""Reason codes under which nothing may have been activated."""

TRIGGER = {
    "APPROACHED": "in the tracking zone of a crossing where it may cross",
    "APPROACHED_ELSEWHERE": "in the tracking zone of another crossing",
    "ENTERED": "in the activation zone",
    "ENTERED_UNSERVED": "in the activation zone; the office cannot take it, or extra goods were reported",
    "ENTERED_ELSEWHERE": "in the activation zone of another crossing",
    "ENTERED_PARTLY_FAULTY": "in the activation zone; only its faultless declarations count",
    "ENTERED_FAULTY": "in the activation zone with faulty declarations",
    "ENTERED_MISSED": "in the confirmation zone; the activation zone was not seen",
    "INSTRUCTED": "the driver has an instruction",
    "OFFICER_ACTIVATED": "activated by an officer",
    "TURNED_BACK": "turned back",
    "CONFIRMATION_ENTERED": "at the confirmation line",
    "LEFT_CLEAR": "left with nothing open",
    "LEFT_UNDER_STOP": "left under an open STOP",
    "LEFT_OPEN": "left with something open",
    "LAST_CAUSE_CLOSED": "the last cause is closed",
    "LOST_CLEAR": "lost with nothing open",
    "TIME_LIMIT_PASSED": "its time is over",
}
"""What moved a journey (`agent.activation.journey.Trigger`), where the journal records it."""

REFUSED = {
    "FIRST_ZONE_WINS": "it counts at the crossing next to this one, whose zone came first",
    "OPPOSITE_DIRECTION": "its journey goes the other way and the fixes tell no direction",
    "CLOSE_PAIR": IGNORED["CLOSE_PAIR"],
    "OUT_OF_SEQUENCE": "it does not fit what went before",
}


def clock(time_s: float) -> str:
    """UTC time of day, with a tenth of a second where it is not whole."""
    text = rfc3339(round(time_s, 1))[11:23]
    return text[:8] if text.endswith(".000") else text[:10]


def day(time_s: float) -> str:
    """UTC date."""
    return rfc3339(time_s)[:10]


def number(seq: int | None) -> str:
    """A report by its number."""
    return "" if seq is None else f" (no. {seq})"


def times(count: int) -> str:
    """How often."""
    return "once" if count == 1 else f"{count} times"


def metres(length_m: float) -> str:
    """A length for people."""
    return f"{length_m:.1f} m" if length_m < 10.0 else f"{length_m:.0f} m"


def zone_words(zone: BorderZone | None, zone_id: str | None) -> str:
    """A zone by its kind; its id where the zone file does not have it."""
    return f"zone {zone_id}" if zone is None else f"the {ZONE[zone.kind]}"


def counted(count: int, noun: str) -> str:
    """`1 declaration`, `2 declarations`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
