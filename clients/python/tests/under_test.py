"""The server that the tests run graph files on: the real one where ``MILLSTREAM`` names its binary, else a stand-in."""

from __future__ import annotations

import os
from typing import Any

from real_server import RealServer
from reference.server import ReferenceServer, Server

#: The real server's binary, such as ``target/debug/millstream``.
BINARY = os.environ.get("MILLSTREAM")


def start(file: dict[str, Any], *, check: bool = False, store: dict[str, str] | None = None) -> Server:
    """``check`` holds all that is said to the published schemas; ``store`` is what asks say of the long-term store."""
    if BINARY:
        return RealServer(BINARY, file)
    return ReferenceServer(file, check=check, store=store)
