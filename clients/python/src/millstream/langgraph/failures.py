"""The error that an error handler is given, made again from what the failed node answered."""

from __future__ import annotations

import builtins

from millstream.wire import Failure


class NodeFailed(Exception):
    """A node's error whose own class isn't known here; ``type`` is its name."""

    def __init__(self, message: str, type: str | None) -> None:
        super().__init__(message)
        self.type = type


def failure_of(failure: Failure) -> Exception:
    """Python's own exceptions keep their class, so that a handler may ask for it; others are NodeFailed."""
    known = getattr(builtins, failure.type or "", None)
    if isinstance(known, type) and issubclass(known, Exception):
        try:
            return known(failure.message)
        except TypeError:
            pass
    return NodeFailed(failure.message, failure.type)
