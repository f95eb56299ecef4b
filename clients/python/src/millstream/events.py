"""What a node shows before it answers: tokens and events of its own. They are for eyes, never the truth."""

from __future__ import annotations

import asyncio
import json
from typing import Any

#: Kinds of tokens, as the records have them.
KINDS = ("text", "reasoning", "tool_call")


class Events:
    """Lines on their way out. Nodes may write from any thread; order is kept."""

    def __init__(self, *, wanted: bool = False) -> None:
        #: Somebody takes lines before the answer.
        self.wanted = wanted
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()

    def token(self, text: str, *, message_id: str | None = None, kind: str = "text") -> None:
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of token; there are {', '.join(KINDS)}")
        token: dict[str, Any] = {"text": text}
        if message_id is not None:
            token["message_id"] = message_id
        if kind != "text":
            token["kind"] = kind
        self._put(line({"token": token}))

    def custom(self, value: Any) -> None:
        self._put(line({"custom": value}))

    def end(self) -> None:
        """Nothing follows."""
        self._put(None)

    async def next(self) -> bytes | None:
        return await self._lines.get()

    def _put(self, one: bytes | None) -> None:
        try:
            on_loop = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            on_loop = False
        if on_loop:
            self._lines.put_nowait(one)
        else:
            self._loop.call_soon_threadsafe(self._lines.put_nowait, one)


def line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
