"""One serial port in asyncio; says when it is lost. The only file that knows pyserial.

pyserial opens and configures the port, the event loop watches its descriptor: no reader thread. It is watched
only while somebody reads, so bytes nobody asks for wait in the kernel and not here, and a port that has gone
cannot spin (a reader that ignored the empty read was called 153,200 times in a second).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import termios

import serial

from firmware_bridge.errors import PortLost, PortUnavailable

READ_BYTES = 65_536
WRITE_LIMIT = 4_096
"""Bytes waiting to be written; more means the other side has stopped taking them."""

_REASONS = {
    errno.ENOENT: ("absent", "no such port"),
    errno.ENXIO: ("absent", "no device behind this port"),
    errno.ENODEV: ("absent", "no device behind this port"),
    errno.EACCES: (
        "no_permission",
        "no permission to open; expected membership of its group, mostly dialout",
    ),
    errno.EPERM: ("no_permission", "no permission to open"),
    errno.EBUSY: ("held", "held by another program"),
    errno.EAGAIN: ("held", "held by another program"),
    errno.ENOTTY: ("not_a_port", "not a serial port"),
    errno.EISDIR: ("not_a_port", "a folder, not a serial port"),
    errno.EINVAL: ("bad_settings", "the port refuses these settings"),
}


class SerialPort:
    """An open port; one reader and one owner. Get it from `open_port`."""

    def __init__(self, path: str, opened: serial.Serial) -> None:
        self.path = path
        self._serial = opened
        self._fd: int | None = opened.fileno()
        self._unsent = bytearray()
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None

    async def read(self, timeout_s: float | None = None) -> bytes | None:
        """Bytes as they come, at least one; None after `timeout_s` of silence.

        Raises:
            PortLost: the port has gone or was closed. It is closed then.
        """
        assert self._waiter is None, "two readers of one port"
        while True:
            data = self._read_now()
            if data is not None:
                return data
            if not await self._readable(timeout_s):
                return None

    def write(self, data: bytes) -> None:
        """Send bytes; what the port does not take at once waits, up to `WRITE_LIMIT`.

        Raises:
            PortLost: the port has gone, or takes nothing any more.
        """
        if self._fd is None:
            raise PortLost(self.path, "is closed")
        self._unsent += data
        self._send()
        if len(self._unsent) > WRITE_LIMIT:
            raise self._lost(f"takes no bytes; more than {WRITE_LIMIT} wait")

    def close(self) -> None:
        """Give the port back; safe to call twice. A reader that waits gets `PortLost`."""
        if self._fd is None:
            return
        # First the watcher, then the descriptor: its number is used again at once.
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        if not _is_pseudo_terminal(self.path):
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._fd, termios.TIOCNXCL)
        self._fd = None
        with contextlib.suppress(OSError):
            self._serial.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _read_now(self) -> bytes | None:
        if self._fd is None:
            raise PortLost(self.path, "is closed")
        try:
            data = os.read(self._fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from error
        if not data:  # unplugged or hung up: readable for ever, and nothing there
            raise self._lost("hung up")
        return data

    async def _readable(self, timeout_s: float | None) -> bool:
        assert self._fd is not None
        fd, self._waiter = self._fd, self._loop.create_future()
        self._loop.add_reader(fd, _wake, self._waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await self._waiter
        except TimeoutError:
            return False
        finally:
            self._waiter = None
            if self._fd is not None:
                self._loop.remove_reader(fd)
        return True

    def _send(self) -> None:
        if self._fd is None:
            return
        try:
            sent = os.write(self._fd, self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from error
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._fd, self._send_later)
        else:
            self._loop.remove_writer(self._fd)

    def _send_later(self) -> None:
        with contextlib.suppress(PortLost):  # the port is closed then; its reader says so
            self._send()

    def _lost(self, why: str) -> PortLost:
        self.close()
        return PortLost(self.path, why)


async def open_port(path: str, baud: int = 115_200, *, reset_on_open: bool = False) -> SerialPort:
    """Open a port for ourselves alone; stale input is discarded.

    Args:
        path: Best a name that stays, such as `/dev/serial/by-id/...`.
        baud: Bits per second.
        reset_on_open: Raise DTR, which restarts many boards.

    Raises:
        PortUnavailable: with the reason; trying again later may help.
    """
    opening = asyncio.get_running_loop().run_in_executor(None, _open, path, baud, reset_on_open)
    try:
        return SerialPort(path, await asyncio.shield(opening))
    except asyncio.CancelledError:
        opening.add_done_callback(_close_unwanted)
        raise


def _open(path: str, baud: int, reset_on_open: bool) -> serial.Serial:
    """Runs in a thread: setting the line parameters may block."""
    port = serial.Serial(exclusive=True, timeout=0, write_timeout=0)  # not open yet: no port given
    try:
        port.port, port.baudrate, port.dtr = path, baud, reset_on_open
        port.open()
        _read_nothing_as_no_data(port.fileno())
    except (OSError, ValueError, termios.error) as error:  # SerialException is an OSError
        port.close()
        raise _unavailable(path, error) from error
    if not _is_pseudo_terminal(path):
        # flock keeps other careful programs out, TIOCEXCL all others. Not on a pseudo-terminal: there the
        # mark outlives a killed holder as long as the far end is open, and would lock out its successor.
        with contextlib.suppress(OSError):
            fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
    # An FTDI driver waits 16 ms for more bytes unless told; pyserial raises one of these where it cannot be told.
    with contextlib.suppress(ValueError, OSError, NotImplementedError):
        port.set_low_latency_mode(True)
    return port


def _read_nothing_as_no_data(fd: int) -> None:
    """pyserial's VMIN 0 lets a silent port read as empty, as a lost one does; 1 tells them apart."""
    attributes = termios.tcgetattr(fd)
    attributes[6][termios.VMIN] = 1
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _unavailable(path: str, error: Exception) -> PortUnavailable:
    if isinstance(error, ValueError):
        return PortUnavailable(path, "bad_settings", f"{error}; expected settings the port knows")
    return PortUnavailable(path, *_REASONS.get(_error_number(error), ("io_error", str(error))))


def _error_number(error: BaseException | None) -> int:
    """The errno; pyserial puts a failed tcgetattr into words only, its number is in the error behind it."""
    while error is not None:
        number = getattr(error, "errno", None) or (error.args[0] if error.args else None)
        if isinstance(number, int):
            return number
        error = error.__context__
    return 0


def _is_pseudo_terminal(path: str) -> bool:
    return os.path.realpath(path).startswith("/dev/pts/")


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _close_unwanted(opening: asyncio.Future[serial.Serial]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
