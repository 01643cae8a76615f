"""Why a vehicle was or was not activated, fix by fix: `borderlane explain`."""

from __future__ import annotations

from agent.explain.case import Case, detection_of, open_case
from agent.explain.conclusion import explain
from agent.explain.fixes import Rules
from agent.explain.picture import picture
from agent.explain.report import report
from agent.explain.story import Explanation

__all__ = ["Case", "Explanation", "Rules", "detection_of", "explain", "open_case", "picture", "report"]
