"""structlog for people and machines; fixed event names, facts as keys, shells only.

Positions are in no log at any level; plates only at `debug`.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog

FORBIDDEN_KEYS = frozenset({"latitude", "longitude", "lat", "lon", "position", "payload"})
"""Keys that could carry a position; a programmer who logs one learns of it in the line itself."""


def configure(format_: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Set up logging once for the process.

    Args:
        format_: `console` for people, `json` for machines, `auto` = console on a terminal.
        level: debug, info, warning or error.
        stream: standard error unless given.
    """
    out = stream or sys.stderr
    for_people = format_ == "console" or (format_ == "auto" and out.isatty())
    renderer: structlog.types.Processor = structlog.processors.JSONRenderer()
    if for_people:  # the other exception formatters print local variables, and so perhaps positions
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_positions,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,  # a reload may change the level of loggers that are in use
    )


def _without_positions(
    _logger: structlog.types.WrappedLogger, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    for key in FORBIDDEN_KEYS & event.keys():
        event[key] = "<withheld>"
    return event
