"""A log that strangers can't fill: so many lines a second, each so long, and a count of what was left out."""

from __future__ import annotations

import logging
from typing import Final

from icn_lite.mesh.limits import MeshLimits

LOGGER: Final = "icn_lite.mesh.coap"  # the CoAP library's own lines; ours are at "icn_lite.mesh"


class BoundedLog(logging.Filter):
    """Lets `log_lines_per_s` records a second through, by the records' own time."""

    def __init__(self, limits: MeshLimits) -> None:
        super().__init__()
        self._limits = limits
        self._second = 0
        self._lines = 0
        self.left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; cuts its text and drops its traceback."""
        second = int(record.created)
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines > self._limits.log_lines_per_s:
            self.left_out += 1
            return False
        text = record.getMessage()
        if len(text) > self._limits.log_line_chars:
            text = text[: self._limits.log_line_chars] + "…"
        if self.left_out:
            text += f" [{self.left_out} lines before this were left out]"
            self.left_out = 0
        record.msg, record.args, record.exc_info, record.exc_text = text, (), None, None
        return True


def bounded_logger(limits: MeshLimits) -> tuple[logging.Logger, BoundedLog]:
    """The logger for the CoAP library with its filter; the caller takes the filter off at the end."""
    logger = logging.getLogger(LOGGER)
    bound = BoundedLog(limits)
    logger.addFilter(bound)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)  # below that, the library prints every message whole
    return logger, bound
