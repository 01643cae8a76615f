"""Children that do not outlive their parent: a demo killed with `kill -9` leaves nothing running."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""prctl(2), Linux."""
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
"""Loaded by the parent: after the fork there is no time for it."""


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies; runs in the child before its program starts.

    Elsewhere than on Linux it does nothing, and what a killed demo has left must be stopped by hand.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
