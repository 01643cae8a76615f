"""MRN, JRN, customs office, plate key, unit, activationId, instructionId (design/domain.md section 4)."""

from __future__ import annotations

import base64
import enum
import hashlib
import re
import unicodedata
from dataclasses import dataclass

MRN_FORM = re.compile(r"[0-9]{2}[A-Z]{2}[A-Z0-9]{13}[0-9]")
JRN_FORM = re.compile(r"[A-Za-z0-9._-]{1,35}")
OFFICE_FORM = re.compile(r"[A-Z]{2}[A-Z0-9]{6}")
UNIT_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")
PERMIT_FORM = re.compile(r"[A-Za-z0-9._/-]{1,35}")

_PLAIN = "".join(str(digit) for digit in range(10))
# ISO 6346: A = 10 upwards without the multiples of 11.
_LETTER_VALUES = [value for value in range(10, 39) if value % 11]
_VALUES = {**{d: int(d) for d in _PLAIN}, **dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", _LETTER_VALUES, strict=True))}

TRANSIT_LETTERS = frozenset("JKL")
PROCEDURE_LETTERS = {
    "EXPORT": frozenset("ABCDE"),
    "IMPORT": frozenset("RS"),
    "TRANSIT": frozenset("JKL"),
    "TRANSIT_OPEN": frozenset("JKL"),
    "TRANSIT_CLOSE": frozenset("JKL"),
}
"""Letters that position 17 may hold for a procedure, from phase 5 on."""


def check_digit(first_17: str) -> int:
    """Check digit of the first 17 characters of an MRN (ISO 6346 weights, mod 11, then mod 10)."""
    return sum(_VALUES[char] * (1 << index) for index, char in enumerate(first_17)) % 11 % 10


def normal_mrn(text: str) -> str:
    """Upper case, no spaces: the form in which MRNs are compared."""
    return "".join(text.split()).upper()


class MrnVerdict(enum.Enum):
    """What the form of an MRN says; a good form proves little, the register decides."""

    GOOD = "GOOD"
    WARN_CHECK_DIGIT = "WARN_CHECK_DIGIT"
    BAD_CHECK_DIGIT = "BAD_CHECK_DIGIT"
    BAD_FORM = "BAD_FORM"


def judge_mrn(mrn: str) -> MrnVerdict:
    """Judge a normal MRN: a wrong check digit is a failure for CH and for transit, elsewhere a warning."""
    if not MRN_FORM.fullmatch(mrn):
        return MrnVerdict.BAD_FORM
    if check_digit(mrn[:17]) == int(mrn[17]):
        return MrnVerdict.GOOD
    strict = mrn[2:4] == "CH" or mrn[16] in TRANSIT_LETTERS
    return MrnVerdict.BAD_CHECK_DIGIT if strict else MrnVerdict.WARN_CHECK_DIGIT


# Cyrillic and Greek letters that look like Latin ones on a number plate.
_LOOK_ALIKES = str.maketrans("АВСЕНІЈКМОРЅТУХΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABCEHIJKMOPSTYXABEZHIKMNOPTYX")
PLATE_KEY_MIN, PLATE_KEY_MAX = 2, 17


def plate_key(plate: str) -> str | None:
    """Letters and digits of a plate in one spelling, or None if fewer than 2 or more than 17 are left.

    `zh 123·456` gives `ZH123456`; umlauts stay, since German districts differ by them.
    """
    latin = unicodedata.normalize("NFC", plate).upper().translate(_LOOK_ALIKES)
    key = "".join(char for char in latin if char.isalnum())
    return key if PLATE_KEY_MIN <= len(key) <= PLATE_KEY_MAX else None


_VEHICLE_SIGNS = {
    "D": "DE", "A": "AT", "F": "FR", "I": "IT", "H": "HU", "L": "LU", "B": "BE", "E": "ES", "P": "PT", "S": "SE",
    "N": "NO", "FIN": "FI", "SLO": "SI", "EST": "EE", "IRL": "IE", "SRB": "RS", "BIH": "BA", "NMK": "MK",
    "FL": "LI", "UK": "GB",
}  # fmt: skip


def nationality_code(text: str) -> str | None:
    """ISO 3166 alpha-2 code from a code or a vehicle sign (`D` gives `DE`), or None."""
    sign = text.strip().upper()
    if sign in _VEHICLE_SIGNS:
        return _VEHICLE_SIGNS[sign]
    return sign if len(sign) == 2 and sign.isascii() and sign.isalpha() else None


@dataclass(frozen=True, order=True)
class VehicleKey:
    """Plate key and nationality; a plate alone is not unique."""

    plate: str
    nationality: str

    def __str__(self) -> str:
        return f"{self.plate}/{self.nationality}"


def vehicle_key(plate: str, nationality: str) -> VehicleKey | None:
    """Key of a vehicle, or None if plate or nationality cannot be read."""
    key, country = plate_key(plate), nationality_code(nationality)
    return VehicleKey(key, country) if key and country else None


def _digest_id(*parts: str) -> str:
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return base64.b32encode(digest).decode().lower()[:26]


def activation_id(mrn: str, version: int, jrn: str, crossing: str, direction: str) -> str:
    """The one activation of a declaration for a journey, crossing and direction: 26 characters.

    No attempt counter goes in, so nothing can activate a second time (invariant 1).
    """
    return _digest_id("borderlane/activation/1", mrn, str(version), jrn, crossing, direction)


def instruction_id(agent: str, key: str, version: int) -> str:
    """Id of an instruction; `key` is the jrn, or the unit where there is no journey."""
    return _digest_id("borderlane/instruction/1", agent, key, str(version))
