"""The points of `docs/langgraph-checklist.md` that are about Python: what LangGraph does, a served graph does."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import httpx
import pytest
from langgraph.channels import Topic
from langgraph.graph import END, START, StateGraph
from langgraph.managed import IsLastStep, RemainingSteps
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import BaseModel, ValidationError
from typing_extensions import TypedDict

from millstream.langgraph import service_of
from serving import Mounts, serving
from test_langgraph_nodes import Both, Log, one_node
from under_test import BINARY


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Mounts, str]]:
    mounts = Mounts()
    with serving(mounts) as url:
        yield mounts, url


Node = Callable[[dict[str, Any]], Any]


def pushed(state: Log) -> dict[str, Any]:
    return {"log": [f"pushed {state['x']}"]}


#: What a node returns: the point, the log and the error's type that it ends with.
RETURNED: list[tuple[str, Node, list[Any] | None, str | None]] = [
    (
        "S6 a list",
        lambda _: [Command(update={"log": [1]}), Command(update={"log": [2]}), {"log": [3]}],
        [1, 2, 3],
        None,
    ),
    ("S20 nothing", lambda _: None, [], None),
    ("S21 an unknown key", lambda _: {"log": ["a"], "zz": 1}, ["a"], None),
    ("S22 a number", lambda _: 5, None, "InvalidUpdateError"),
    ("S22 a list of a number", lambda _: [1], None, "InvalidUpdateError"),
    ("S24 a Send", lambda _: Send("pushed", {"x": 7}), ["pushed 7"], None),
    (
        "S58 a Send with what is no object",
        lambda _: Send("pushed", {"x": [1, "a", None]}),
        ["pushed [1, 'a', None]"],
        None,
    ),
    ("S62 pairs", lambda _: Command(update=[("log", [1]), ("log", [2])]), [1, 2], None),
]


@pytest.mark.parametrize(("point", "returned", "log", "error"), RETURNED, ids=[one[0] for one in RETURNED])
def test_what_a_node_returns(
    place: tuple[Mounts, str], point: str, returned: Node, log: list[Any] | None, error: str | None
) -> None:
    builder = one_node(lambda state: returned(state))
    builder.add_node("pushed", pushed)
    came = Both(builder, place, {}).run({"log": []})
    assert (came.error and came.error[0]) == error
    if log is not None:
        assert came.values == {"log": log}


#: What a condition returns, and its map; the log, and the error's type.
DECIDED: list[tuple[str, Any, Any, list[str] | None, str | None]] = [
    ("S39 two", lambda _: ["c", "b"], ["b", "c"], ["a", "b", "c"], None),
    ("S41 what the map lacks", lambda _: "k2", {"k1": "b"}, None, "KeyError"),
    ("S42 a truth", lambda _: True, {True: "b", False: END}, ["a", "b"], None),
    ("S40 an unknown node", lambda _: "zz", None, ["a"], None),
    ("S43 None", lambda _: None, None, None, "ValueError"),
    ("S43 no one", lambda _: [], ["b"], ["a"], None),
    ("S43 twice the same", lambda _: ["b", "b"], ["b"], ["a", "b"], None),
    ("S43 END beside one", lambda _: [END, "b"], {END: END, "b": "b"}, ["a", "b"], None),
]


@pytest.mark.parametrize(("point", "decided", "to", "log", "error"), DECIDED, ids=[one[0] for one in DECIDED])
def test_what_a_condition_returns(
    place: tuple[Mounts, str], point: str, decided: Any, to: Any, log: list[str] | None, error: str | None
) -> None:
    builder = one_node(lambda state: {"log": ["a"]})
    for name in ("b", "c"):
        builder.add_node(name, lambda state, name=name: {"log": [name]})
    builder.add_conditional_edges("a", lambda state: decided(state), to)
    came = Both(builder, place, {}).run({"log": []})
    assert (came.error and came.error[0]) == error
    if log is not None:
        assert came.values == {"log": log}


def test_s10_a_topic_that_accumulates_keeps_all(place: tuple[Mounts, str]) -> None:
    class State(TypedDict, total=False):
        all: Annotated[list[str], Topic(str, accumulate=True)]
        latest: Annotated[list[str], Topic(str)]

    builder = StateGraph(State)
    builder.add_node("a", lambda state: {"all": ["1", "2"], "latest": ["1", "2"]})
    builder.add_node("b", lambda state: {"all": "3"})
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    assert Both(builder, place, {}).run({}).values == {"all": ["1", "2", "3"]}


def test_s11_reducers_begin_with_what_their_type_is_without_anything(place: tuple[Mounts, str]) -> None:
    class State(TypedDict, total=False):
        number: Annotated[int, operator.add]
        text: Annotated[str, operator.add]
        some: Annotated[list[str], operator.add]
        fields: Annotated[dict[str, int], operator.or_]
        names: Annotated[set[str], operator.or_]
        part: Annotated[float, operator.add]
        truth: Annotated[bool, operator.or_]
        perhaps: Annotated[int | None, lambda left, right: right]
        x: str

    graph = Both(one_node(lambda state: {"x": "a"}, State), place, {})
    expected = {"number": 0, "text": "", "some": [], "fields": {}, "names": [], "part": 0.0, "truth": False, "x": "a"}
    assert graph.run({}).values == expected


def test_s12_a_reducers_first_write_is_raw(place: tuple[Mounts, str]) -> None:
    class State(TypedDict, total=False):
        pair: Annotated[int | None, lambda left, right: [left, right]]

    builder = StateGraph(State)
    builder.add_node("a", lambda state: {"pair": 1})
    builder.add_node("b", lambda state: {"pair": 2})
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    assert Both(builder, place, {}).run({}).values == {"pair": [1, 2]}


@pytest.mark.parametrize(("wrote", "n"), [(5, 6), ("5", 6)])
def test_s30_a_pydantic_state_is_coerced_for_each_node(place: tuple[Mounts, str], wrote: Any, n: int) -> None:
    class State(BaseModel):
        n: int = 0

    builder = one_node(lambda state: {"n": wrote}, State)
    builder.add_node("b", lambda state: {"n": state.n + 1})
    builder.add_edge("a", "b")
    assert Both(builder, place, {}).run({}).values == {"n": n}


def test_s30_a_pydantic_state_without_a_field_is_refused(place: tuple[Mounts, str]) -> None:
    class State(BaseModel):
        n: int

    graph = Both(one_node(lambda state: {"n": state.n + 1}, State), place, {})
    with pytest.raises(ValidationError) as raised:
        graph.app.invoke({}, graph.config)
    came = graph.server.run(input={})
    assert came.error is not None and came.error[0] == type(raised.value).__name__


def test_s31_a_typed_dict_is_not_validated(place: tuple[Mounts, str]) -> None:
    class State(TypedDict, total=False):
        n: int

    builder = one_node(lambda state: {"n": "x"}, State)
    builder.add_node("b", lambda state: {"n": [state["n"]]})
    builder.add_edge("a", "b")
    assert Both(builder, place, {}).run({}).values == {"n": ["x"]}


@pytest.mark.skipif(BINARY is None, reason="the server's own check")
def test_input_is_held_to_what_is_declared(place: tuple[Mounts, str]) -> None:
    class State(TypedDict, total=False):
        n: int

    came = Both(one_node(lambda state: {"n": 1}, State), place, {}).server.run(input={"n": "x"})
    assert came.error is not None and came.error[0] == "Refused" and "input.n" in came.error[1]


def test_s50_what_a_pushed_node_leads_to_sees_the_state(place: tuple[Mounts, str]) -> None:
    def where(state: Any) -> list[Any]:
        return [Send("end", {"x": [state["log"], state.get("only the argument")]})]

    builder = one_node(lambda state: {"log": ["a"]})
    builder.add_node("w", lambda state: {"log": [f"w {state['only the argument']}"]})
    builder.add_node("end", lambda state: {"x": state["x"]})
    builder.add_conditional_edges("a", lambda state: [Send("w", {"only the argument": 1})], ["w"])
    builder.add_conditional_edges("w", where, ["end"])
    values = Both(builder, place, {}).run({"log": ["in"]}).values
    assert values == {"log": ["in", "a", "w 1"], "x": [["in", "a", "w 1"], None]}


def test_s77_the_steps_that_are_left(place: tuple[Mounts, str]) -> None:
    class State(Log):
        left: RemainingSteps
        last: IsLastStep

    builder = one_node(lambda state: {"log": [[state["last"], state["left"]]]}, State)
    builder.add_conditional_edges("a", lambda state: END if state["last"] else "a", ["a", END])
    graph = Both(builder, place, {})
    expected = graph.app.invoke({}, {**graph.config, "recursion_limit": 5})["log"]
    values = graph.server.run(input={}, recursion_limit=5).values
    assert values == {"log": expected}
    assert expected == [[False, 4], [False, 3], [False, 2], [True, 1]]


#: Whether the default policy tries again.
RETRIED: list[tuple[type[Exception], bool]] = [
    (ConnectionError, True),
    (ConnectionResetError, True),
    (AssertionError, True),
    (AttributeError, True),
    (EOFError, True),
    (MemoryError, True),
    (BufferError, True),
    (ValueError, False),
    (TypeError, False),
    (ZeroDivisionError, False),
    (ImportError, False),
    (KeyError, False),
    (NameError, False),
    (SyntaxError, False),
    (RuntimeError, False),
    (ReferenceError, False),
    (OSError, False),
    (TimeoutError, False),
    (NotImplementedError, False),
    (RecursionError, False),
    (UnicodeError, False),
]


@pytest.mark.parametrize(("raised", "again"), RETRIED, ids=[one[0].__name__ for one in RETRIED])
def test_s80_which_errors_are_retried(place: tuple[Mounts, str], raised: type[Exception], again: bool) -> None:
    tried: list[int] = []

    def a(state: Log) -> None:
        tried.append(1)
        raise raised("no")

    graph = one_node(a, retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.001, jitter=False)).compile()
    with pytest.raises(raised):
        graph.invoke({})
    assert len(tried) == (2 if again else 1), "in LangGraph"
    place[0].app = service_of(graph, "g").asgi()
    ask = {"task_id": "t", "node": "a", "input": {}, "attempt": 1}
    error = httpx.post(f"{place[1]}/nodes/a", json=ask).json()["error"]
    assert (error["type"], error["retryable"]) == (raised.__name__, again)


def test_s125_whoever_catches_everything_catches_questions(place: tuple[Mounts, str]) -> None:
    def a(state: Log) -> dict[str, Any]:
        try:
            return {"log": [interrupt("?")]}
        except Exception as caught:
            return {"log": [type(caught).__name__]}

    graph = Both(one_node(a), place, {})
    assert graph.run({}).values == {"log": ["GraphInterrupt"]}
    assert graph.asked() == []


def test_reducers_fold_in_the_order_of_names(place: tuple[Mounts, str]) -> None:
    """S1 with a reducer of the program's own, which is asked over HTTP."""

    class State(TypedDict, total=False):
        text: Annotated[str, lambda left, right: f"({left}{right})"]

    builder = StateGraph(State)
    for name in ("z", "m", "a"):
        builder.add_node(name, lambda state, name=name: {"text": name})
        builder.add_edge(START, name)
    assert Both(builder, place, {}).run({}).values == {"text": "(((a)m)z)"}
