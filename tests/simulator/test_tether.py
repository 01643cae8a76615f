"""simulator/tether.py: a child does not outlive a parent that was killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import psutil

PARENT = """
import subprocess, sys, time
from simulator.tether import end_with_parent
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], preexec_fn=end_with_parent)
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_killed_parent_takes_its_child_along(absent: Callable[[str], str]) -> None:
    if sys.platform != "linux":
        absent("the kernel of Linux does it; elsewhere nothing is promised")
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    try:
        parent.kill()
        parent.wait()
        child.wait(timeout=20.0)
        assert not child.is_running()
    finally:
        parent.stdout.close()
        if child.is_running():
            child.kill()
