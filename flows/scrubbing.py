"""No secret leaves this process: not by its log records, not on its terminal, not in an exception that Prefect keeps."""

from __future__ import annotations

import functools
import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec, TextIO, TypeVar

from catalog.foreign_errors import as_fault
from catalog.secrets import scrub

P = ParamSpec("P")
T = TypeVar("T")


class ScrubbedStream:
    """A text stream that hides secrets; everything else about it is that of the stream it writes to."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write without secrets."""
        return self._stream.write(scrub(text))

    def writelines(self, lines: list[str]) -> None:
        """Write without secrets."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _ScrubbedRecord(logging.LogRecord):
    """A log record whose message and traceback are scrubbed before any handler sees them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        try:
            said = self.getMessage()
        except Exception:  # arguments that do not fit the message: logging itself says so
            return
        if (scrubbed := scrub(said)) != said:
            self.msg, self.args = scrubbed, None
        if self.exc_info and self.exc_info[0] is not None:
            trace = "".join(traceback.format_exception(*self.exc_info)).rstrip("\n")
            if (scrubbed := scrub(trace)) != trace:
                self.exc_info, self.exc_text = None, scrubbed


def scrub_logs() -> None:
    """Have every log record of this process scrubbed, whoever writes it and wherever it goes."""
    logging.setLogRecordFactory(_ScrubbedRecord)


def scrub_terminal() -> None:
    """Have everything scrubbed that this process prints."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, ScrubbedStream):
            setattr(sys, name, ScrubbedStream(stream))


def in_our_words(work: Callable[P, T]) -> Callable[P, T]:
    """Have `work` raise nothing but a Fault: Prefect keeps what an exception says, and a Fault quotes no secret."""

    @functools.wraps(work)
    def told(*args: P.args, **options: P.kwargs) -> T:
        try:
            return work(*args, **options)
        except Exception as error:
            fault = as_fault(error)
            if fault is error:
                raise
            raise fault from error

    return told
