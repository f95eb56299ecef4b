"""LangGraph's prebuilt ReAct agent, served unchanged: each fine point ends as in LangGraph's own run."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import create_react_agent

from millstream.langgraph import export, service_of
from millstream.langgraph.values import to_json
from reference.server import Came
from serving import Mounts, serving
from tool_caller import ToolCaller
from under_test import start

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SORRY = "Sorry, need more steps to process this request."


@tool
def add(a: int, b: int, wait: float = 0.0) -> int:
    """Adds."""
    time.sleep(wait)
    return a + b


@tool
def divide(a: int, b: int) -> float:
    """Divides."""
    return a / b


def call(place: int, name: str, **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args, "id": f"call-{place}"}


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Mounts, str]]:
    mounts = Mounts()
    with serving(mounts) as url:
        yield mounts, url


class Both:
    """One agent twice: in LangGraph, and served."""

    def __init__(self, place: tuple[Mounts, str], calls: list[dict[str, Any]]) -> None:
        def agent(**options: Any) -> Any:
            return create_react_agent(ToolCaller(calls=calls), [add, divide], **options)

        served = agent()
        place[0].app = service_of(served, "agent").asgi()
        exported = export(served, "agent", url=place[1])
        assert exported.errors == []
        self.file = exported.file
        self.server = start(exported.file, check=True)
        self.app = agent(checkpointer=InMemorySaver())

    def run(self, limit: int = 12) -> tuple[Came, list[dict[str, Any]], Exception | None]:
        """What came of the served one; the updates of LangGraph's own run, and how it failed."""
        given: Any = {"messages": [{"role": "user", "content": "go", "id": "0"}]}
        came = self.server.run(input=given, recursion_limit=limit)
        config: Any = {"configurable": {"thread_id": "t"}, "recursion_limit": limit}
        updates, failed = [], None
        try:
            updates.extend(self.app.stream(given, config, stream_mode="updates"))
        except Exception as error:
            failed = error
        return came, updates, failed

    def messages(self, came: Came) -> list[dict[str, Any]]:
        """What both end with, which is the same."""
        expected = self.app.get_state({"configurable": {"thread_id": "t"}}).values
        assert came.error is None and came.values is not None
        assert told(came.values["messages"]) == told(to_json(expected["messages"]))
        return told(came.values["messages"])


def told(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the ids that whoever makes a message draws."""
    fields = ("type", "content", "name", "status", "tool_call_id", "tool_calls")
    return [{field: one.get(field) for field in fields} for one in messages]


FOUR = [
    call(0, "add", a=1, b=2, wait=0.2),
    call(1, "nope", a=1),
    call(2, "add", a="one", b=2),
    call(3, "add", a=3, b=4),
]


def test_four_calls_are_answered_in_their_order(place: tuple[Mounts, str]) -> None:
    both = Both(place, FOUR)
    messages = both.messages(both.run()[0])
    assert [one["type"] for one in messages] == ["human", "ai", "tool", "tool", "tool", "tool", "ai"]
    assert [one["tool_call_id"] for one in messages[2:6]] == [f"call-{place}" for place in range(4)]


def test_what_tools_say_and_what_is_wrong_with_calls(place: tuple[Mounts, str]) -> None:
    both = Both(place, FOUR)
    said = both.messages(both.run()[0])[2:6]
    assert [one["status"] for one in said] == ["success", "error", "error", "success"]
    assert (said[0]["content"], said[3]["content"]) == ("3", "7"), "the text of what a tool gives"
    assert said[1]["content"] == "Error: nope is not a valid tool, try one of [add, divide]."
    assert said[2]["content"].startswith("Error invoking tool 'add' with kwargs {'a': 'one', 'b': 2} with error:\n")
    assert said[2]["content"].endswith("\n Please fix the error and try again.")


def test_each_call_is_a_task_of_its_own(place: tuple[Mounts, str]) -> None:
    both = Both(place, FOUR)
    came, updates, _ = both.run()
    expected = collections.Counter(name for update in updates for name in update)
    got = collections.Counter(name for kind, _, update in came.events if kind == "updates" for name in update)
    assert got == expected == {"agent": 2, "tools": 4}


def test_the_agent_decides_whom_to_call(place: tuple[Mounts, str]) -> None:
    both = Both(place, FOUR)
    assert sorted(both.file["nodes"]) == ["agent", "tools"]
    plain = [edge for edge in both.file["edges"] if isinstance(edge, str)]
    assert sorted(plain) == ["START -> agent", "tools -> agent"]
    decided = [edge for edge in both.file["edges"] if not isinstance(edge, str)]
    assert [edge["from"] for edge in decided] == ["agent"]


def test_a_tool_that_raises_fails_the_run(place: tuple[Mounts, str]) -> None:
    both = Both(place, [call(0, "divide", a=1, b=0)])
    came, _, failed = both.run()
    assert isinstance(failed, ZeroDivisionError)
    assert came.error == ("ZeroDivisionError", str(failed))


@pytest.mark.parametrize(("limit", "ends"), [(1, None), (2, SORRY), (3, None), (4, "['3']")])
def test_too_few_steps_are_said_where_the_agent_sees_them(
    place: tuple[Mounts, str], limit: int, ends: str | None
) -> None:
    both = Both(place, [call(0, "add", a=1, b=2)])
    came, _, failed = both.run(limit)
    if ends is None:
        assert came.error is not None and failed is not None
        assert came.error[0] == type(failed).__name__ == "GraphRecursionError"
    else:
        assert failed is None
        assert both.messages(came)[-1]["content"] == ends
