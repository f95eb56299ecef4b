"""Three graphs of the shape that LangGraph's tutorials teach: exported and served, they end as in LangGraph."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from millstream.langgraph import export, load, service_of
from millstream.langgraph.values import to_json
from serving import serving
from under_test import BINARY, start

EXAMPLES = Path(__file__).parent.parent / "examples" / "langgraph"


def graph_of(name: str) -> Any:
    return load(str(EXAMPLES / f"{name}.py") + ":graph")


#: The real server is asked through LangGraph's addresses: they show custom events, and no lines of services.
SHOWN_BY_THE_STAND_IN = pytest.mark.skipif(BINARY is not None, reason="not shown at LangGraph's addresses")


class Both:
    """One graph twice: in LangGraph, and served."""

    def __init__(self, name: str, url: str, served: Any) -> None:
        self.app = graph_of(name).builder.compile(checkpointer=InMemorySaver())
        self.config: Any = {"configurable": {"thread_id": "t"}}
        exported = export(served, name, url=url)
        assert (exported.errors, exported.warnings) == ([], [])
        self.server = start(exported.file, check=True)

    def invoke(self, given: dict[str, Any]) -> tuple[Any, Any]:
        expected = self.app.invoke(given, self.config)
        return to_json(without_questions(expected)), self.server.run(input=to_json(given)).values

    def resume(self, answer: Any) -> tuple[Any, Any]:
        expected = self.app.invoke(Command(resume=answer), self.config)
        return to_json(without_questions(expected)), self.server.run(command={"resume": answer}).values

    def questions(self) -> tuple[Any, Any]:
        asked = self.app.get_state(self.config).interrupts
        return [one.value for one in asked], [one.value for one in self.server.state().interrupts]


def without_questions(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "__interrupt__"}


@pytest.fixture
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    served = graph_of(request.param)
    with serving(service_of(served, request.param).asgi()) as url:
        yield Both(request.param, url, served)


def unnamed(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the ids that whoever keeps the state makes up."""
    return [{**one, "id": one["id"] if str(one["id"]).startswith("answer-") else None} for one in full(messages)]


def full(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from millstream.langgraph.values import message

    return [to_json(message(one)) for one in messages]


@pytest.mark.parametrize("both", ["chat_with_tools"], indirect=True)
def test_a_chat_with_tools(both: Both) -> None:
    for question in ("where are my orders?", "and now?"):
        expected, got = both.invoke({"messages": [{"role": "user", "content": question}]})
        assert unnamed(got["messages"]) == unnamed(expected["messages"])
    kinds = [one["type"] for one in got["messages"]]
    assert kinds[:5] == ["human", "ai", "tool", "tool", "ai"], kinds


@SHOWN_BY_THE_STAND_IN
@pytest.mark.parametrize("both", ["chat_with_tools"], indirect=True)
def test_the_models_tokens_are_shown(both: Both) -> None:
    came = both.server.run(input={"messages": [{"role": "user", "content": "where are my orders?"}]})
    tokens = [line["token"] for line in came.told.lines]
    told = {kind: list(same) for kind, same in itertools.groupby(tokens, lambda one: one.get("kind", "text"))}
    assert "".join(one["text"] for one in told["text"]) == "Both are on their way."
    assert {one["message_id"] for one in told["text"]} == {"answer-1"}
    assert len(told["text"]) > 1, "in pieces, as they come"
    calls = json.loads(told["tool_call"][0]["text"]), json.loads(told["tool_call"][1]["text"])
    assert [json.loads(call["args"]) for call in calls] == [{"number": 7}, {"number": 8}]


@SHOWN_BY_THE_STAND_IN
@pytest.mark.parametrize("both", ["chat_with_tools"], indirect=True)
def test_what_the_models_calls_used_is_told(both: Both) -> None:
    came = both.server.run(input={"messages": [{"role": "user", "content": "where are my orders?"}]})
    assert [call["usage"]["output_tokens"] for call in came.told.calls] == [0, 5]
    assert [call["usage"]["input_tokens"] for call in came.told.calls] == [0, 20]


@pytest.mark.parametrize("both", ["map_reduce"], indirect=True)
def test_map_and_reduce(both: Both) -> None:
    expected, got = both.invoke({"topic": "lazy"})
    assert got == expected
    assert got["jokes"][1] == "Why do lazy dogs cross the road?"


@pytest.mark.parametrize("both", ["approval"], indirect=True)
def test_a_person_approves(both: Both) -> None:
    expected, got = both.invoke({"order": 7})
    assert got == expected == {"order": 7, "amount": 20.0, "reason": "arrived late"}
    asked = [{"refund": 20.0, "because": "arrived late"}]
    assert both.questions() == (asked, asked)
    assert both.resume({"approved": True})[1]["outcome"] == "20.0 paid back"


@pytest.mark.parametrize("both", ["approval"], indirect=True)
def test_a_person_refuses_and_says_why(both: Both) -> None:
    both.invoke({"order": 7})
    expected, got = both.resume({"approved": False})
    assert got == expected
    assert both.questions() == (["why not?"], ["why not?"])
    expected, got = both.resume("twice already")
    assert got == expected
    assert got["outcome"] == "refused: twice already"


@pytest.mark.parametrize("both", ["approval"], indirect=True)
def test_what_the_stream_writer_is_given_is_shown(both: Both) -> None:
    came = both.server.run(input={"order": 7})
    assert came.told.lines == [{"custom": {"asking": 7}}]
