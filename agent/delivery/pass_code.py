"""The signed instruction as a code that a phone can show and an officer can scan: `BL1:` and base 45.

A JWS of some 1,000 characters would make a QR code too fine for a phone in daylight. So header, payload and
signature are laid side by side, deflated with a dictionary of the words that every instruction holds, and written in
base 45 (RFC 9285), which QR codes pack best. What comes out of `unpack` is the JWS byte for byte, so nothing about
its verification is new.
"""

from __future__ import annotations

import base64
import binascii
import zlib

import segno

PREFIX = "BL1:"
MAX_CODE_LENGTH = 4_296
"""What the largest QR code holds in this alphabet (ISO/IEC 18004, version 40, level L)."""
MAX_TOKEN_BYTES = 16_384
"""Of what a code may inflate to."""
_SIGNATURE_BYTES = 64
_ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_VALUE = {code: value for value, code in enumerate(_ALPHABET)}
_DICTIONARY = (
    b'{"alg":"Ed25519","kid":"box-1","typ":"borderlane-instruction+jws"}'
    b'"ENTRY_DENIED""LATE_CONTROL""CORRECT_AFTER_ENTRY""CONTROL_AFTER_ENTRY""CALL_OFFICE""NOT_READY""UNKNOWN_VEHICLE"'
    b'"EMPTY_RELEASED""CONDITIONAL""OFFICER""NO_ANSWER""CONTROL""RELEASED"'
    b'"action":"GO_WITH_OBLIGATION","action":"HOLD","action":"STOP","action":"GO",'
    b'"reportToLocations":[{"inspectionTypeId":"","locationIds":["'
    b'{"instructionId":"","jrn":"J-00","version":1,"unit":"lorry-","vehicle":{"identificationNumber":"ZH",'
    b'"nationality":"CH"},"action":"GO","customsOffice":"CH00","lane":null,"reportToLocations":[],"deadline":null,'
    b'"reasonCode":"RELEASED","issuedAt":"2026-11-22T10:00:00.000Z","expiresAt":"2026-11-22T10:30:00.000Z",'
    b'"supersedes":null,"activations":[""],"checkpoint":null}'
)
"""Part of the format `BL1`: another dictionary needs another prefix."""


class BadCode(ValueError):  # noqa: N818 - reads as the fact it states
    """A text is no code of ours."""


def pack(token: str | bytes) -> str:
    """The code of a JWS compact.

    Raises:
        ValueError: no JWS with an Ed25519 signature (a caller bug: we made it).
    """
    text = token.encode() if isinstance(token, str) else token
    header, payload, signature = (_from_base64(part) for part in text.split(b"."))
    if len(signature) != _SIGNATURE_BYTES or len(header) > 0xFFFF:
        raise ValueError("expected a JWS with an Ed25519 signature")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
    small = deflate.compress(len(header).to_bytes(2, "big") + header + payload) + deflate.flush()
    return PREFIX + _to_base45(signature + small)


def unpack(code: str) -> str:
    """The JWS compact of a code; says nothing yet of who signed it.

    Raises:
        BadCode: not of the form, damaged, or too long.
    """
    if not code.startswith(PREFIX) or len(code) > MAX_CODE_LENGTH:
        raise BadCode(f"expected {PREFIX} and at most {MAX_CODE_LENGTH} characters")
    data = _from_base45(code[len(PREFIX) :])
    inflate = zlib.decompressobj(-15, _DICTIONARY)
    try:
        plain = inflate.decompress(data[_SIGNATURE_BYTES:], MAX_TOKEN_BYTES)
    except zlib.error as error:
        raise BadCode(f"damaged: {error}") from error
    length = int.from_bytes(plain[:2], "big")
    if not inflate.eof or inflate.unused_data or len(plain) < 2 + length:
        raise BadCode("damaged: cut short or too long")
    parts = (plain[2 : 2 + length], plain[2 + length :], data[:_SIGNATURE_BYTES])
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts).decode()


def qr_path(text: str) -> tuple[int, str]:
    """A text as QR code: side in modules with the quiet zone of 4, and an SVG path that fills the dark ones.

    Raises:
        ValueError: longer than a QR code holds.
    """
    code = segno.make_qr(text, error="l", boost_error=True)
    rows = [bytes(row) for row in code.matrix]
    runs = [_run(x, y, rows) for y in range(len(rows)) for x in range(len(rows)) if _begins(x, rows[y])]
    return len(rows) + 8, "".join(runs)


def _begins(x: int, row: bytes) -> bool:
    return bool(row[x]) and (x == 0 or not row[x - 1])


def _run(x: int, y: int, rows: list[bytes]) -> str:
    end = rows[y].find(0, x)
    length = (end if end >= 0 else len(rows)) - x
    return f"M{x + 4} {y + 4}h{length}v1h-{length}z"


def qr_svg(text: str) -> bytes:
    """A QR code as a picture of its own, dark on white whatever the theme."""
    size, path = qr_path(text)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" width="{size * 6}" height="{size * 6}" '
        f'shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{size}v{size}H0z"/><path d="{path}"/></svg>'
    ).encode()


def _from_base64(part: bytes) -> bytes:
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def _to_base45(data: bytes) -> str:
    out = bytearray()
    for start in range(0, len(data), 2):
        pair = data[start : start + 2]
        value = int.from_bytes(pair, "big")
        for _ in range(len(pair) + 1):
            value, rest = divmod(value, 45)
            out.append(_ALPHABET[rest])
    return out.decode()


def _from_base45(text: str) -> bytes:
    out = bytearray()
    try:
        values = [_VALUE[code] for code in text.encode("ascii")]
        for start in range(0, len(values), 3):
            digits = values[start : start + 3]
            number = sum(digit * 45**place for place, digit in enumerate(digits))
            out += number.to_bytes(len(digits) - 1, "big") if len(digits) > 1 else _no_digit()
    except (KeyError, UnicodeEncodeError, OverflowError, binascii.Error) as error:
        raise BadCode("damaged: not base 45") from error
    return bytes(out)


def _no_digit() -> bytes:
    raise BadCode("damaged: one character too few")
