"""Binary formats written as hex text, as protocol descriptions and support tickets show frames."""

from __future__ import annotations

from typing import Protocol

from firmware_bridge.messages import Event

LOOK_AT_BYTES = 8
"""The first bytes decide: binary frames have a zero or a byte above 0x7F among them."""
_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_BLANK = frozenset(b" \t\r\n")


class _Decoder(Protocol):
    @property
    def buffered(self) -> int: ...

    def feed(self, data: bytes) -> list[Event]: ...

    def end(self) -> list[Event]: ...


class HexText:
    """A decoder of binary frames that takes hex digits and white space as well; in hex it skips all else."""

    def __init__(self, decoder: _Decoder) -> None:
        self._decoder = decoder
        self._first = bytearray()
        self._is_hex: bool | None = None
        self._digit = b""

    @property
    def buffered(self) -> int:
        """Bytes waiting for the rest of their frame."""
        return len(self._first) + self._decoder.buffered

    def feed(self, data: bytes) -> list[Event]:
        """Events these bytes complete."""
        if self._is_hex is None:
            self._first += data
            if len(self._first) < LOOK_AT_BYTES:
                return []
            return self._decide()
        return self._decoder.feed(self._plain(data))

    def end(self) -> list[Event]:
        """Events still open at the end."""
        first = self._decide() if self._is_hex is None else []
        return first + self._decoder.end()

    def _decide(self) -> list[Event]:
        data, self._first = bytes(self._first), bytearray()
        looked_at = frozenset(data[:LOOK_AT_BYTES])
        self._is_hex = looked_at <= _DIGITS | _BLANK and bool(looked_at & _DIGITS)
        return self._decoder.feed(self._plain(data))

    def _plain(self, data: bytes) -> bytes:
        if not self._is_hex:
            return data
        digits = self._digit + bytes(byte for byte in data if byte in _DIGITS)
        even = len(digits) // 2 * 2
        self._digit = digits[even:]
        return bytes.fromhex(digits[:even].decode())
