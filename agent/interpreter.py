"""Python's interpreter set up for a process that answers within milliseconds while a second thread commits."""

from __future__ import annotations

import gc
import sys

SWITCH_S = 0.0005
"""How long a thread may keep the interpreter while another waits. The journal's thread gives it up at each statement;
with Python's 5 ms a busy event loop would make a commit of a hundred statements last half a second."""
COLLECT_FROM = 50_000
"""New objects from which the garbage collector looks at the youngest. Little here is cyclic, and with Python's 700 it
would go through all live records some times a minute, each time stopping everything (choice)."""


def share() -> None:
    """Let waiting threads have the interpreter soon."""
    sys.setswitchinterval(SWITCH_S)


def settle_memory() -> None:
    """What is loaded by now stays for ever: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_FROM, 20, 50)
