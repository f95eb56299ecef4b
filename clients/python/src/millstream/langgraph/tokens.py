"""Tokens of LangChain's chat models as lines of the answer, and what their calls used."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langgraph.pregel._messages import StreamMessagesHandler

from millstream.events import Events
from millstream.wire import Call


def handlers(events: Events, calls: list[Call]) -> list[BaseCallbackHandler]:
    """Where nobody is shown tokens, models aren't made to stream."""
    used: list[BaseCallbackHandler] = [UsageHandler(calls)]
    return [*used, TokenHandler(events)] if events.wanted else used


class TokenHandler(StreamMessagesHandler):
    """LangGraph's own handler decides what of a model's output is shown (not what is tagged `nostream`); what a node
    returns is left to Millstream, which sees it in the answer."""

    def __init__(self, events: Events) -> None:
        super().__init__(lambda chunk: _show(events, chunk[2][0]), subgraphs=True)

    def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
        return None

    def on_chain_end(self, *args: Any, **kwargs: Any) -> None:
        return None

    def on_chain_error(self, *args: Any, **kwargs: Any) -> None:
        return None


class UsageHandler(BaseCallbackHandler):
    """Keeps what each call to a model used."""

    run_inline = True

    def __init__(self, calls: list[Call]) -> None:
        self._calls = calls
        self._described: dict[UUID, dict[str, Any]] = {}

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._described[run_id] = metadata or {}

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        described = self._described.pop(run_id, {})
        for generations in response.generations:
            for one in generations[:1]:
                if isinstance(one, ChatGeneration) and isinstance(one.message, AIMessage):
                    self._calls.append(_call(one.message, described))


def _show(events: Events, message: BaseMessage) -> None:
    for kind, text in _pieces(message):
        events.token(text, message_id=message.id, kind=kind)


def _pieces(message: BaseMessage) -> list[tuple[str, str]]:
    content = message.content
    blocks = [content] if isinstance(content, str) else content
    pieces = []
    for block in blocks:
        if isinstance(block, str):
            pieces.append(("text", block))
        elif block.get("type") == "text":
            pieces.append(("text", str(block.get("text", ""))))
        elif block.get("type") in ("reasoning", "thinking"):
            pieces.append(("reasoning", str(block.get("reasoning") or block.get("thinking") or "")))
    for call in getattr(message, "tool_call_chunks", None) or getattr(message, "tool_calls", None) or ():
        pieces.append(("tool_call", json.dumps(dict(call), ensure_ascii=False)))
    return [(kind, text) for kind, text in pieces if text]


def _call(message: AIMessage, described: dict[str, Any]) -> Call:
    usage: Any = message.usage_metadata or {}
    return Call(
        provider=str(described.get("ls_provider") or "unknown"),
        model=str(message.response_metadata.get("model_name") or described.get("ls_model_name") or "unknown"),
        input_tokens=usage.get("input_tokens", 0),
        output_tokens=usage.get("output_tokens", 0),
        cached_tokens=(usage.get("input_token_details") or {}).get("cache_read", 0),
        cache_write_tokens=(usage.get("input_token_details") or {}).get("cache_creation", 0),
        reasoning_tokens=(usage.get("output_token_details") or {}).get("reasoning", 0),
    )
