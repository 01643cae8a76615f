"""agent/delivery/pass_code.py: byte for byte the JWS, small enough for a phone, and damage is said."""

from __future__ import annotations

import re

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.pass_code import PREFIX, BadCode, pack, qr_path, qr_svg, unpack
from agent.domain.instruction import Instruction, Vehicle
from agent.domain.signed import sign
from agent.instruction.signing import sign_instruction, verify_instruction
from agent.keys import jwk_of

KEY = jwk_of(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
INSTRUCTION = Instruction(
    instruction_id="hfvgojcs7iie4pty2vg7qhswsh", jrn="J7f3a21-00042", version=2, unit="lorry-7f3a21-00042",
    vehicle=Vehicle(identification_number="ZH 123456", nationality="CH"), action="STOP", customs_office="CH001251",
    lane="B 4", report_to_locations=(), deadline=None, reason_code="CONTROL", issued_at="2026-11-22T10:00:00.000Z",
    expires_at="2026-11-23T10:00:00.000Z", supersedes="uhd7sh2kd9sj3hd8sk2jd8shw2", checkpoint=None,
    activations=("k3jd8s7dhs2kd9sj3hd8sk2jd8", "q9dj2hs8sk2jd8shw2uhd7sh2k"),
)  # fmt: skip


@given(st.binary(max_size=1_000), st.text(max_size=20))
def test_what_comes_out_is_what_went_in(payload: bytes, kid: str) -> None:
    token = sign(payload, KEY, kid, "t")
    assert unpack(pack(token)) == token and unpack(pack(token.encode())) == token


@given(st.text(max_size=300), st.booleans())
def test_any_text_is_refused_by_name(text: str, ours: bool) -> None:
    with pytest.raises(BadCode):
        unpack(PREFIX + text if ours else text.removeprefix(PREFIX))


@given(st.data())
def test_a_cut_or_changed_code_never_verifies(data: st.DataObject) -> None:
    code = pack(sign_instruction(INSTRUCTION, KEY, "box-1"))
    place = data.draw(st.integers(len(PREFIX), len(code) - 1))
    letter = data.draw(st.sampled_from("0123456789ABCXYZ$%*+").filter(lambda one: one != code[place]))
    for bad in (code[:place], code[:place] + letter + code[place + 1 :]):
        with pytest.raises(ValueError):
            verify_instruction(unpack(bad), {"box-1": KEY})


def test_a_whole_instruction_fits_a_code_that_a_phone_can_show() -> None:
    """Below 90 modules; on 360 pixels with 2 or more for each, four modules of one pixel of a camera."""
    code = pack(sign_instruction(INSTRUCTION, KEY, "box-1"))
    assert verify_instruction(unpack(code), {"box-1": KEY}) == INSTRUCTION
    size, path = qr_path(code)
    assert len(code) < 700 and size < 90
    assert re.fullmatch(r"(M\d+ \d+h\d+v1h-\d+z)+", path)


def test_a_picture_is_dark_on_white() -> None:
    picture = qr_svg("https://box.example/driver/abc").decode()
    assert picture.startswith("<svg ") and 'fill="#fff"' in picture and "h7v1h-7z" in picture


def test_an_inflating_code_is_not_followed() -> None:
    bomb = pack(sign(b" " * 60_000, KEY, "box-1", "t"))
    with pytest.raises(BadCode, match="cut short or too long"):
        unpack(bomb)


def test_the_form_is_fixed() -> None:
    """A code shown by one version is read by the next: dictionary and alphabet are part of it."""
    token = sign(msgspec.json.encode({"action": "GO"}), KEY, "box-1", "borderlane-instruction+jws")
    assert pack(token) == CODE


CODE = (
    "BL1:4 12MMJEH:BGN254$JO$L51W-VG5%0$SFDO8DLEXW60 08+6I89*GCSX7I2T$9B30B"
    "$H1710J2068PUHDIWT646M*UZ33*I3VPC PLF77P3B O00V5"
)
