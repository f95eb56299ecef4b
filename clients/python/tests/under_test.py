"""The server that the tests run graph files on. The real one goes here when it speaks all of the Node API."""

from __future__ import annotations

from typing import Any

from reference.server import ReferenceServer, Server


def start(file: dict[str, Any], *, check: bool = False, store: dict[str, str] | None = None) -> Server:
    """``check`` holds all that is said to the published schemas; ``store`` is what asks say of the long-term store."""
    return ReferenceServer(file, check=check, store=store)
