"""Structured logs on standard error: lines for people or JSON for machines."""

import logging
import sys

import structlog

from config.settings import LogSettings


def configure(settings: LogSettings) -> None:
    """Set up structlog for the process; the libraries' own logs stay at warnings."""
    as_json = settings.format == "json"
    renderer = structlog.processors.JSONRenderer(ensure_ascii=False) if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(), *([structlog.processors.format_exc_info] if as_json else []), renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)

