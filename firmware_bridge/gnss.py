"""Any receiver: NMEA and UBX, alone or mixed on one line, found out by itself."""

from __future__ import annotations

from firmware_bridge.framing import FrameKind
from firmware_bridge.nmea import read_sentence
from firmware_bridge.receiver import ReceiverDecoder
from firmware_bridge.ubx import read_frame


class GnssDecoder(ReceiverDecoder):
    """A receiver that speaks NMEA, UBX or both; RTCM and unknown protocols are passed over."""

    def __init__(self, *, live: bool = False, skip_header: bool = False) -> None:
        """As of `ReceiverDecoder`."""
        readers = {FrameKind.SENTENCE: read_sentence, FrameKind.UBX: read_frame}
        super().__init__(readers, live=live, skip_header=skip_header)
