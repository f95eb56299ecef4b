"""A chat model that says what it was told to say, so that the examples run without a key. Put your own in its place."""

import re
from collections.abc import Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult


class ScriptedModel(BaseChatModel):
    """Answers with its messages in turn, by how many of its own the conversation has."""

    script: list[AIMessage]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        said = sum(isinstance(message, AIMessage) for message in messages)
        message = self.script[said % len(self.script)]
        return message.model_copy(update={"id": f"answer-{said}"})

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        message = self._next(messages)
        for piece in re.findall(r"\s*\S+", str(message.content)):
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece, id=message.id))
        if message.tool_calls or message.usage_metadata:
            last = AIMessageChunk(
                content="", id=message.id, tool_calls=message.tool_calls, usage_metadata=message.usage_metadata
            )
            yield ChatGenerationChunk(message=last)
