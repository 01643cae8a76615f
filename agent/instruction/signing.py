"""Instructions as JWS compact, out and in; what a unit must check before it shows one."""

from __future__ import annotations

import msgspec
from joserfc.jwk import OKPKey

from agent.domain.instruction import INSTRUCTION_TYPE, Action, Instruction
from agent.domain.signed import BadSignature, key_id, sign, verify
from agent.domain.times import epoch_s


def sign_instruction(instruction: Instruction, key: OKPKey, kid: str) -> str:
    """The instruction as it is published: JWS compact over its JSON."""
    return sign(msgspec.json.encode(instruction), key, kid, INSTRUCTION_TYPE)


def verify_instruction(token: str | bytes, keys: dict[str, OKPKey]) -> Instruction:
    """The instruction that the signature covers.

    Raises:
        BadSignature: not signed by one of `keys`, or the signed text is no instruction.
    """
    try:
        return msgspec.json.decode(verify(token, keys, INSTRUCTION_TYPE), type=Instruction)
    except msgspec.MsgspecError as error:
        raise BadSignature(f"signed text is no instruction: {error}") from error


def verify_by_one_key(token: str | bytes, key: OKPKey) -> Instruction:
    """As `verify_instruction`, for somebody who holds one key and trusts it, whatever its id.

    Raises:
        BadSignature: not signed by this key, or the signed text is no instruction.
    """
    return verify_instruction(token, {key_id(token): key})


def why_not_shown(instruction: Instruction, unit: str, now_s: float, shown: Instruction | None) -> str | None:
    """Say why a unit must not show an instruction, or None if it may.

    Args:
        instruction: Verified by `verify_instruction`.
        unit: The unit's own id.
        now_s: UTC seconds.
        shown: What it shows now; a lower version for the same journey is an old one sent again.
    """
    if instruction.unit != unit:
        return f"for unit {instruction.unit!r}"
    if instruction.action not in Action.__members__:
        return f"unknown action {instruction.action!r}"
    try:
        expired = epoch_s(instruction.expires_at) <= now_s
    except ValueError:
        return f"expiresAt {instruction.expires_at!r} cannot be read"
    if expired:
        return "expired"
    same = shown is not None and shown.jrn == instruction.jrn
    if shown is not None and same and instruction.version < shown.version:
        return f"version {instruction.version} after {shown.version}"
    return None
