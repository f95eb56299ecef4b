"""A chat model that follows a script, for agents of LangGraph's."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult


class ToolCaller(BaseChatModel):
    """Makes these calls of tools at once, and answers with what they said."""

    calls: list[dict[str, Any]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        said = [one.content for one in messages if isinstance(one, ToolMessage)]
        answer = AIMessage(content=str(said), id="2") if said else AIMessage(content="", tool_calls=self.calls, id="1")
        return ChatResult(generations=[ChatGeneration(message=answer)])
