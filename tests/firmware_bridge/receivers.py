"""What receivers say about a drive, encoded by hand: the other side of the decoders."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import xor

from firmware_bridge.framing import crc24q, fletcher

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GPS_START_MS = 315_964_800_000
WEEK_MS = 604_800_000
KNOT_MPS = 0.514444
SEMI_MAJOR_M, FLATTENING = 6_378_137.0, 1 / 298.257223563
E2 = FLATTENING * (2 - FLATTENING)
RTCM = b"\xd3\x00\x13" + (1005 << 4).to_bytes(2, "big") + bytes(17)
RTCM += crc24q(RTCM).to_bytes(3, "big")


@dataclass(frozen=True)
class Moment:
    """Where the receiver is at a moment."""

    time_ms: int
    latitude: float
    longitude: float
    speed_mps: float
    heading_deg: float
    leap_s: int = 18

    @property
    def moment(self) -> datetime:
        """The same in UTC."""
        return EPOCH + timedelta(milliseconds=self.time_ms)

    @property
    def week_and_itow(self) -> tuple[int, int]:
        """GPS week and time of week, ms."""
        return divmod(self.time_ms - GPS_START_MS + self.leap_s * 1000, WEEK_MS)


def sentence(body: str, start: str = "$") -> bytes:
    return start.encode() + body.encode() + b"*%02X\r\n" % reduce(xor, body.encode(), 0)


def clock(at: Moment) -> str:
    return f"{at.moment:%H%M%S}.{at.moment.microsecond // 1000:03d}"


def angle(degrees: float, digits: int, letters: str) -> str:
    whole, rest = divmod(round(abs(degrees) * 60e7), 60 * 10**7)
    return f"{whole:0{digits}d}{rest // 10**7:02d}.{rest % 10**7:07d},{letters[degrees < 0]}"


def place(at: Moment) -> str:
    return f"{angle(at.latitude, 2, 'NS')},{angle(at.longitude, 3, 'EW')}"


def motion(at: Moment) -> str:
    return f"{at.speed_mps / KNOT_MPS:.4f},{at.heading_deg:.3f}"


def rmc(at: Moment, talker: str = "GP", status: str = "A") -> bytes:
    return sentence(f"{talker}RMC,{clock(at)},{status},{place(at)},{motion(at)},{at.moment:%d%m%y},,,A")


def gga(at: Moment, talker: str = "GP", quality: int = 1, satellites: int = 9) -> bytes:
    return sentence(f"{talker}GGA,{clock(at)},{place(at)},{quality},{satellites:02d},0.9,400.0,M,48.0,M,,")


def gns(at: Moment, talker: str = "GN", modes: str = "AA") -> bytes:
    return sentence(f"{talker}GNS,{clock(at)},{place(at)},{modes},14,0.7,400.0,48.0,,")


def gll(at: Moment, talker: str = "GP") -> bytes:
    return sentence(f"{talker}GLL,{place(at)},{clock(at)},A,A")


def zda(at: Moment, talker: str = "GP") -> bytes:
    return sentence(f"{talker}ZDA,{clock(at)},{at.moment:%d,%m,%Y},00,00")


def vtg(at: Moment, talker: str = "GP") -> bytes:
    return sentence(f"{talker}VTG,{at.heading_deg:.3f},T,,M,{at.speed_mps / KNOT_MPS:.4f},N,,K,A")


def gsa(mode: int = 3, talker: str = "GP") -> bytes:
    return sentence(f"{talker}GSA,A,{mode},01,02,03,04,,,,,,,,,1.5,0.9,1.2")


def pubx(at: Moment) -> bytes:
    speed = f"{at.speed_mps * 3.6:.4f},{at.heading_deg:.3f}"
    return sentence(f"PUBX,00,{clock(at)},{place(at)},450.0,G3,2.0,3.0,{speed},0.0,,1.0,1.5,1.0,11,0,0")


def pubx_time(at: Moment) -> bytes:
    week, itow_ms = at.week_and_itow
    return sentence(f"PUBX,04,{clock(at)},{at.moment:%d%m%y},{itow_ms / 1000:.2f},{week},{at.leap_s},0,0,43")


def ubx(kind: int, number: int, payload: bytes) -> bytes:
    body = bytes((kind, number)) + len(payload).to_bytes(2, "little") + payload
    return b"\xb5\x62" + body + fletcher(body)


def e7(degrees: float) -> int:
    return round(degrees * 1e7)


def itow(at: Moment) -> bytes:
    return struct.pack("<I", at.week_and_itow[1])


def utc(at: Moment) -> bytes:
    moment = at.moment
    return struct.pack("<H5B", moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)


def nano(at: Moment) -> int:
    return at.moment.microsecond * 1000


def pvt(
    at: Moment,
    *,
    fix_type: int = 3,
    flags: int = 1,
    valid: int = 7,
    satellites: int = 9,
    length: int = 92,
    flags3: int = 0,
) -> bytes:
    payload = itow(at) + utc(at) + struct.pack("<BIi", valid, 25, nano(at))
    payload += struct.pack("<BBBB", fix_type, flags, 0, satellites)
    payload += struct.pack("<iiiiII", e7(at.longitude), e7(at.latitude), 450_000, 400_000, 1_500, 2_000)
    payload += struct.pack("<iii", 0, 0, 0)
    payload += struct.pack("<iiIIHH", round(at.speed_mps * 1e3), round(at.heading_deg * 1e5), 100, 0, 120, flags3)
    return ubx(1, 7, (payload + bytes(128))[:length])


def ecef(at: Moment) -> tuple[float, float, float]:
    """Earth-centred metres, at sea level."""
    latitude, longitude = math.radians(at.latitude), math.radians(at.longitude)
    normal_m = SEMI_MAJOR_M / math.sqrt(1 - E2 * math.sin(latitude) ** 2)
    axis_m = normal_m * math.cos(latitude)
    return axis_m * math.cos(longitude), axis_m * math.sin(longitude), normal_m * (1 - E2) * math.sin(latitude)


def ecef_velocity(at: Moment) -> tuple[float, float, float]:
    latitude, longitude, heading = map(math.radians, (at.latitude, at.longitude, at.heading_deg))
    north, east = at.speed_mps * math.cos(heading), at.speed_mps * math.sin(heading)
    return (
        -math.sin(latitude) * math.cos(longitude) * north - math.sin(longitude) * east,
        -math.sin(latitude) * math.sin(longitude) * north + math.cos(longitude) * east,
        math.cos(latitude) * north,
    )


def cm(metres: float) -> int:
    return round(metres * 100)


def sol(at: Moment, *, gps_fix: int = 3, flags: int = 0x0D, satellites: int = 9) -> bytes:
    payload = itow(at) + struct.pack("<ihBB", 0, at.week_and_itow[0], gps_fix, flags)
    payload += struct.pack("<iiiI", *map(cm, ecef(at)), 300) + struct.pack("<iiiI", *map(cm, ecef_velocity(at)), 20)
    return ubx(1, 6, payload + struct.pack("<HBBI", 180, 0, satellites, 0))


def posecef(at: Moment) -> bytes:
    return ubx(1, 1, itow(at) + struct.pack("<iiiI", *map(cm, ecef(at)), 300))


def posllh(at: Moment) -> bytes:
    return ubx(1, 2, itow(at) + struct.pack("<iiiiII", e7(at.longitude), e7(at.latitude), 0, 0, 1_500, 2_000))


def hpposllh(at: Moment, *, invalid: int = 0) -> bytes:
    longitude, latitude = round(at.longitude * 1e9), round(at.latitude * 1e9)
    (lon, lon_hp), (lat, lat_hp) = (split_hp(value) for value in (longitude, latitude))
    payload = struct.pack("<BBBB", 0, 0, 0, invalid) + itow(at) + struct.pack("<iiii", lon, lat, 0, 0)
    return ubx(1, 0x14, payload + struct.pack("<bbbbII", lon_hp, lat_hp, 0, 0, 200, 300))


def split_hp(e9: int) -> tuple[int, int]:
    """1e-7 degrees and the hundredths beside them."""
    whole = int(e9 / 100)
    return whole, e9 - whole * 100


def velned(at: Moment) -> bytes:
    payload = itow(at) + struct.pack("<iiiII", 0, 0, 0, cm(at.speed_mps), cm(at.speed_mps))
    return ubx(1, 0x12, payload + struct.pack("<iII", round(at.heading_deg * 1e5), 20, 0))


def status(at: Moment, *, gps_fix: int = 3, flags: int = 0x0D) -> bytes:
    return ubx(1, 3, itow(at) + struct.pack("<BBBBII", gps_fix, flags, 0, 0, 1, 1))


def timeutc(at: Moment, *, valid: int = 7) -> bytes:
    return ubx(1, 0x21, itow(at) + struct.pack("<Ii", 25, nano(at)) + utc(at) + bytes((valid,)))


def timegps(at: Moment, *, valid: int = 7) -> bytes:
    return ubx(1, 0x20, itow(at) + struct.pack("<ihbBI", 0, at.week_and_itow[0], at.leap_s, valid, 25))


def eoe(at: Moment) -> bytes:
    return ubx(1, 0x61, itow(at))


def hnr(at: Moment, *, gps_fix: int = 3, flags: int = 0x0D) -> bytes:
    payload = itow(at) + utc(at) + struct.pack("<BiBBH", 7, nano(at), gps_fix, flags, 0)
    payload += struct.pack("<iiii", e7(at.longitude), e7(at.latitude), 0, 0)
    payload += struct.pack("<iiii", round(at.speed_mps * 1e3), 0, round(at.heading_deg * 1e5), 0)
    return ubx(0x28, 0, payload + struct.pack("<IIIII", 1_500, 2_000, 100, 0, 0))
