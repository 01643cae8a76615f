"""agent/interpreter.py: what the agent asks of Python, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc, sys
from agent import interpreter
interpreter.share()
interpreter.settle_memory()
print(sys.getswitchinterval() == interpreter.SWITCH_S, gc.get_freeze_count() > 0, gc.get_threshold()[0], gc.isenabled())
"""


def test_threads_take_turns_soon_and_what_is_loaded_is_not_looked_at_again() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "50000", "True"]
