"""What LangGraph gives to the code of a node, it has when it is served. Each graph runs in LangGraph and served."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import inspect
import operator
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import httpx
import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_store, get_stream_writer
from langgraph.errors import NodeError
from langgraph.func import task
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.managed import IsLastStep, RemainingSteps
from langgraph.prebuilt import InjectedState, InjectedStore, create_react_agent
from langgraph.runtime import Runtime, get_runtime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import CachePolicy, Command, RetryPolicy, Send, StreamWriter, TimeoutPolicy, interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

from millstream.langgraph import attempt, export, service_of
from millstream.langgraph.values import to_json
from reference.server import Came
from serving import Mounts, serving
from store_server import StoreServer
from tool_caller import ToolCaller
from under_test import start

TOKEN = "t0ken"


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Mounts, str]]:
    mounts = Mounts()
    with serving(mounts) as url:
        yield mounts, url


@pytest.fixture(params=[False, True], ids=["async", "by thread"])
def both(place: tuple[Mounts, str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Both ways of running code, whatever Python this is: before 3.11 there is only the second for plain functions."""
    if not request.param and attempt.BY_THREAD:
        pytest.skip("this Python runs plain functions by thread")
    monkeypatch.setattr(attempt, "BY_THREAD", request.param)

    def make(builder: StateGraph[Any, Any, Any, Any], **compiled: Any) -> Both:
        return Both(builder, place, compiled)

    return make


class Both:
    def __init__(self, builder: Any, place: tuple[Mounts, str], compiled: dict[str, Any]) -> None:
        mounts, url = place
        # Some builders can be compiled once only: those are given as functions that make them.
        build = builder if inspect.isfunction(builder) else lambda: builder
        self.app = build().compile(checkpointer=InMemorySaver(), **compiled)
        self.config: Any = {"configurable": {"thread_id": "t"}, "recursion_limit": 12}
        served = build().compile(**compiled)
        self.exported = export(served, "g", url=url)
        assert self.exported.errors == []
        mounts.app = service_of(served, "g").asgi()
        self.server = start(self.exported.file, check=True)

    def run(self, given: Any, context: Any = None) -> Came:
        """Both end with the same values; what came of the served one."""
        came = self.server.run(
            input=to_json(given), context=to_json(context) if context is not None else None, recursion_limit=12
        )
        try:
            expected = self.app.invoke(given, self.config, context=context)
        except Exception as failed:
            assert came.error == (type(failed).__name__, str(failed))
        else:
            self._same(came, expected)
        return came

    def resume(self, answer: Any) -> Came:
        came = self.server.run(command={"resume": to_json(answer)}, recursion_limit=12)
        self._same(came, self.app.invoke(Command(resume=answer), self.config))
        return came

    def asked(self) -> list[Any]:
        expected = [to_json(one.value) for one in self.app.get_state(self.config).interrupts]
        assert [one.value for one in self.server.state().interrupts] == expected
        return expected

    def _same(self, came: Came, expected: Any) -> None:
        values = {name: to_json(value) for name, value in (expected or {}).items() if name != "__interrupt__"}
        assert came.error is None, came.error
        assert came.values == (values if expected is not None else None)


class Log(TypedDict, total=False):
    log: Annotated[list, operator.add]
    x: Any


def one_node(function: Any, schema: Any = Log, **options: Any) -> Any:
    builder = StateGraph(schema)
    builder.add_node("a", function, **options)
    builder.add_edge(START, "a")
    return builder


# What is given to a node.


def test_config_writer_store_and_runtime_as_parameters(both: Any) -> None:
    def a(
        state: Log, config: RunnableConfig, writer: StreamWriter, store: BaseStore, runtime: Runtime
    ) -> dict[str, Any]:
        writer({"from": "the parameter"})
        get_stream_writer()("from the context")
        assert get_store() is store
        assert get_runtime().execution_info.task_id == runtime.execution_info.task_id
        return {"log": [config["configurable"]["thread_id"], config["metadata"]["langgraph_node"]]}

    came = both(one_node(a), store=InMemoryStore()).run({"log": []})
    assert came.told.lines == [{"custom": {"from": "the parameter"}}, {"custom": "from the context"}]


def test_the_runs_context_as_the_declared_class(both: Any) -> None:
    @dataclasses.dataclass
    class Context:
        user: str
        locale: str = "en"

    def a(state: Log, runtime: Runtime[Context]) -> dict[str, Any]:
        return {"log": [f"{runtime.context.user} {runtime.context.locale}"]}

    builder = StateGraph(Log, context_schema=Context)
    builder.add_node("a", a)
    builder.add_edge(START, "a")
    graph = both(builder)
    assert graph.run({}, context={"user": "ada"}).values == {"log": ["ada en"]}
    assert graph.exported.file["context"] == {
        "user": {"type": "string"},
        "locale": {"type": "string", "default": "en"},
    }


def test_langgraphs_own_keys_are_not_a_clients_to_set(place: tuple[Mounts, str]) -> None:
    def a(state: Log, config: RunnableConfig) -> dict[str, Any]:
        return {"log": [config["configurable"]["team"], "__pregel_cache" in config["configurable"]]}

    place[0].app = service_of(one_node(a).compile(), "g").asgi()
    ask = {"task_id": "t", "node": "a", "input": {}, "configurable": {"team": "care", "__pregel_cache": {}}}
    assert httpx.post(f"{place[1]}/nodes/a", json=ask).json() == {"update": {"log": ["care", False]}}


def test_steps_that_are_left(both: Any) -> None:
    class State(Log):
        left: RemainingSteps
        last: IsLastStep

    def a(state: State) -> dict[str, Any]:
        return {"log": [[state["left"], state["last"]]]}

    builder = one_node(a, State)
    builder.add_conditional_edges("a", lambda state: "a" if state["left"] > 2 else END, ["a", END])
    assert both(builder).run({}).values["log"][0] == [11, False]


def test_the_long_term_store(place: tuple[Mounts, str]) -> None:
    async def a(state: Log, store: BaseStore) -> dict[str, Any]:
        await store.aput(("users", "7"), "name", {"first": "Ada", "age": 36})
        found = await store.aget(("users", "7"), "name")
        assert found is not None
        older = await store.asearch(("users",), filter={"age": {"$gt": 30}})
        return {
            "log": [found.value, len(older), [list(one) for one in await store.alist_namespaces(prefix=("users",))]]
        }

    def b(state: Log, store: BaseStore) -> dict[str, Any]:
        store.delete(("users", "7"), "name")
        return {"log": [store.get(("users", "7"), "name"), store.search(("users",))]}

    builder = one_node(a)
    builder.add_node("b", b)
    builder.add_edge("a", "b")
    kept = StoreServer(TOKEN)
    with serving(kept) as url:
        place[0].app = service_of(builder.compile(), "g").asgi()
        file = export(builder.compile(), "g", url=place[1]).file
        served = start(file, check=True, store={"url": url, "token": TOKEN}).run(input={})
    assert served.values == asyncio.run(builder.compile(store=InMemoryStore()).ainvoke({}))
    assert [next(iter(op)) for op in kept.asked] == [
        "put",
        "get",
        "search",
        "list_namespaces",
        "delete",
        "get",
        "search",
    ]


def test_a_store_of_the_programs_own(both: Any) -> None:
    store = InMemoryStore()
    store.put(("a",), "k", {"v": 1})

    def a(state: Log, store: BaseStore) -> dict[str, Any]:
        item = store.get(("a",), "k")
        assert item is not None
        return {"log": [item.value["v"]]}

    assert both(one_node(a), store=store).run({}).values == {"log": [1]}


# Values.


class Order(BaseModel):
    number: int
    at: datetime.date


@dataclasses.dataclass
class Point:
    x: int


class Typed(TypedDict, total=False):
    order: Order
    points: list[Point]
    tags: set[str]
    pair: tuple[int, int]
    when: datetime.datetime | None
    messages: Annotated[list[AnyMessage], add_messages]
    said: Annotated[list, operator.add]


def test_values_keep_their_declared_types(both: Any) -> None:
    def make(state: Typed) -> dict[str, Any]:
        return {
            "order": Order(number=7, at=datetime.date(2026, 1, 2)),
            "points": [Point(1), Point(2)],
            "tags": {"b", "a"},
            "pair": (1, 2),
            "when": datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.timezone.utc),
            "messages": [AIMessage(content="hi", id="m1", tool_calls=[{"name": "t", "args": {}, "id": "c"}])],
            "said": [HumanMessage(content="untyped", id="m2")],
        }

    def use(state: Typed) -> dict[str, Any]:
        assert state["order"].at.year == 2026
        assert [point.x for point in state["points"]] == [1, 2]
        assert state["tags"] == {"a", "b"} and state["pair"] == (1, 2)
        assert state["when"] is not None and state["when"].year == 2026
        last = state["messages"][-1]
        assert isinstance(last, AIMessage) and last.tool_calls[0]["id"] == "c"
        assert isinstance(state["said"][0], HumanMessage)
        return {"order": Order(number=state["order"].number + 1, at=state["order"].at)}

    builder = one_node(make, Typed)
    builder.add_node("use", use)
    builder.add_edge("a", "use")
    came = both(builder).run({})
    assert came.values["order"] == {"number": 8, "at": "2026-01-02"}


class Shelf(TypedDict):
    name: str
    orders: list[Order]


class Room(TypedDict, total=False):
    shelf: Shelf
    log: Annotated[list, operator.add]


class Visit(TypedDict):
    day: datetime.date
    shelf: Shelf


def test_types_are_found_within_dicts_and_sends(both: Any) -> None:
    def a(state: Room) -> dict[str, Any]:
        return {"shelf": {"name": "s", "orders": [Order(number=1, at=datetime.date(2026, 1, 2))]}}

    def w(state: Visit) -> dict[str, Any]:
        return {"log": [state["day"].year, state["shelf"]["orders"][0].number]}

    builder = one_node(a, Room)
    builder.add_node("w", w)
    day = datetime.date(2025, 1, 1)
    builder.add_conditional_edges("a", lambda state: [Send("w", {"day": day, "shelf": state["shelf"]})], ["w"])
    assert both(builder).run({}).values["log"] == [2025, 1]


def test_a_pydantic_state_is_made_for_each_node(both: Any) -> None:
    class State(BaseModel):
        n: int
        log: Annotated[list[str], operator.add] = []

    def a(state: State) -> dict[str, Any]:
        return {"n": state.n + 1, "log": [type(state).__name__]}

    builder = one_node(a, State)
    builder.add_conditional_edges("a", lambda state: "a" if state.n < 3 else END, ["a", END])
    assert both(builder).run({"n": 1}).values == {"n": 3, "log": ["State", "State"]}


def test_a_send_carries_an_object_or_a_dict(both: Any) -> None:
    def w(state: Point) -> dict[str, Any]:
        return {"log": [f"{type(state).__name__} {state.x}"]}

    def d(state: dict[str, Any]) -> dict[str, Any]:
        return {"log": [f"{type(state).__name__} {state['x']} {type(state.get('m')).__name__}"]}

    builder = StateGraph(Log)
    builder.add_node("w", w, input_schema=Point)
    builder.add_node("d", d)
    message = HumanMessage(content="m", id="1")
    builder.add_conditional_edges(
        START, lambda state: [Send("w", Point(1)), Send("d", {"x": 2, "m": message})], ["w", "d"]
    )
    assert both(builder).run({}).values == {"log": ["Point 1", "dict 2 HumanMessage"]}


def test_a_value_without_json_is_told_by_name(both: Any) -> None:
    class Socket: ...

    came = both(one_node(lambda state: {"x": {"deep": [Socket()]}})).server.run(input={})
    assert came.error is not None
    assert came.error[0] == "NoJson"
    assert "channel `x`, which node a wrote,['deep'][0] is of type" in came.error[1]


def newest(left: set[str], right: set[str]) -> set[str]:
    return left | {one.upper() for one in right}


def higher(left: int, right: int) -> int:
    return max(left, right)


class Reduced(TypedDict, total=False):
    seen: Annotated[set[str], newest]
    best: Annotated[int | None, higher]
    text: Annotated[str, operator.add]


def test_reducers_of_the_programs_own(both: Any) -> None:
    builder = StateGraph(Reduced)
    for name, n in (("a", 3), ("b", 7), ("c", 5)):
        builder.add_node(name, lambda state, name=name, n=n: {"seen": {name}, "best": n, "text": name})
        builder.add_edge(START, name)
    graph = both(builder)
    assert graph.run({}).values == {"seen": ["A", "B", "C"], "best": 7, "text": "abc"}
    assert all("http" in channel["reducer"] for channel in graph.exported.file["state"].values())


# Ways.


def test_a_branch_sees_what_its_node_returned_beside_the_state(both: Any) -> None:
    def a(state: Log) -> dict[str, Any]:
        return {"log": ["a"], "hint": "b"}

    builder = one_node(a)
    builder.add_node("b", lambda state: {"log": ["b"]})
    builder.add_conditional_edges("a", lambda state: state.get("hint", END), ["b", END])
    assert both(builder).run({}).values == {"log": ["a", "b"]}


def test_a_branch_may_ask(both: Any) -> None:
    def route(state: Log) -> str:
        return interrupt("left or right?")

    builder = one_node(lambda state: {"log": ["a"]})
    builder.add_node("left", lambda state: {"log": ["left"]})
    builder.add_node("right", lambda state: {"log": ["right"]})
    builder.add_conditional_edges("a", route, ["left", "right"])
    graph = both(builder)
    graph.run({})
    assert graph.asked() == ["left or right?"]
    assert graph.resume("right").values == {"log": ["a", "right"]}


def test_a_node_and_its_branch_share_the_answers(both: Any) -> None:
    def a(state: Log) -> dict[str, Any]:
        return {"log": [interrupt("what?")]}

    def route(state: Log) -> str:
        return interrupt("where?")

    builder = one_node(a)
    builder.add_node("b", lambda state: {"log": ["b"]})
    builder.add_conditional_edges("a", route, ["b", END])
    graph = both(builder)
    graph.run({})
    graph.resume("this")
    assert graph.asked() == ["where?"]
    assert graph.resume("b").values == {"log": ["this", "b"]}


def test_an_answer_that_does_not_fit_leaves_the_question_open(both: Any) -> None:
    class Decision(BaseModel):
        approved: bool

    def a(state: Log) -> dict[str, Any]:
        first = interrupt("sure?")
        return {"log": [first, interrupt("decide", response_schema=Decision).approved]}

    graph = both(one_node(a))
    graph.run({})
    graph.resume("yes")
    asked = graph.server.state().interrupts[0]
    assert asked.response_schema["properties"]["approved"]["type"] == "boolean"
    refused = graph.server.run(command={"resume": {"approved": "perhaps"}})
    assert refused.error is not None and refused.error[0] == "ValidationError"
    assert graph.server.state().interrupts[0].id == asked.id
    assert graph.server.run(command={"resume": {"approved": True}}).values == {"log": ["yes", True]}


@tool
def double(n: int) -> int:
    """Twice."""
    return 2 * n


@tool
def remember(
    n: int, state: Annotated[dict, InjectedState], store: Annotated[Any, InjectedStore()], config: RunnableConfig
) -> str:
    """Keeps a number."""
    store.put(("n",), "last", {"n": n})
    return (
        f"{len(state['messages'])} messages, {store.get(('n',), 'last').value}, {config['configurable']['thread_id']}"
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_prebuilt_agent_with_tools(place: tuple[Mounts, str]) -> None:
    def agent(**options: Any) -> Any:
        calls = [{"name": name, "args": {"n": 2}, "id": name} for name in ("double", "remember")]
        model, store = ToolCaller(calls=calls), InMemoryStore()
        return create_react_agent(model, [double, remember], prompt="Be short.", store=store, **options)

    served = agent()
    place[0].app = service_of(served, "agent").asgi()
    exported = export(served, "agent", url=place[1])
    assert exported.errors == []
    given = {"messages": [{"role": "user", "content": "go", "id": "0"}]}
    came = start(exported.file, check=True).run(input=given)
    expected = agent(checkpointer=InMemorySaver()).invoke(given, {"configurable": {"thread_id": "t"}})

    def said(messages: list[Any]) -> list[tuple[str, Any]]:
        return [(one["type"], one["content"]) for one in messages]

    assert came.error is None
    assert said(came.values["messages"]) == said(to_json(expected["messages"]))
    assert "4" in came.values["messages"][-1]["content"]


# Failures.


def test_errors_say_whether_to_try_again(both: Any) -> None:
    class Busy(Exception): ...

    tried: list[int] = []

    def a(state: Log, runtime: Runtime) -> dict[str, Any]:
        tried.append(runtime.execution_info.node_attempt)
        if len(tried) % 3:
            raise Busy("busy")
        return {"log": ["done"]}

    policy = RetryPolicy(max_attempts=3, initial_interval=0.001, jitter=False, retry_on=Busy)
    graph = both(one_node(a, retry_policy=policy))
    assert graph.run({}).values == {"log": ["done"]}
    assert tried == [1, 2, 3] * 2, "once here, once in LangGraph"
    assert graph.exported.file["nodes"]["a"]["retry"]["max_attempts"] == 3


def test_an_error_that_no_policy_names_is_final(both: Any) -> None:
    def a(state: Log) -> None:
        raise ValueError("no")

    assert both(one_node(a, retry_policy=RetryPolicy())).run({}).error == ("ValueError", "no")


def test_of_several_policies_the_first_that_matches_counts(both: Any, place: tuple[Mounts, str]) -> None:
    def a(state: dict[str, Any]) -> None:
        raise {"key": KeyError, "connection": ConnectionError}[state["x"]]("failed")

    policies = [
        RetryPolicy(max_attempts=2, initial_interval=5.0, backoff_factor=3, retry_on=KeyError),
        RetryPolicy(max_attempts=4, initial_interval=0.5, retry_on=ConnectionError),
    ]
    graph = both(one_node(a, retry_policy=policies))
    retry = graph.exported.file["nodes"]["a"]["retry"]
    assert (retry["max_attempts"], retry["initial_interval"]) == (4, "500ms")

    def error(x: str, attempt: int) -> dict[str, Any]:
        ask = {"task_id": "t", "node": "a", "input": {"x": x}, "attempt": attempt}
        return httpx.post(f"{place[1]}/nodes/a", json=ask).json()["error"]

    assert error("key", 1) == {"message": "'failed'", "retryable": True, "type": "KeyError", "retry_after_ms": 5000}
    assert error("key", 2)["retryable"] is False
    assert error("connection", 3)["retry_after_ms"] == 2000


def test_a_handler_is_told_of_the_error(both: Any) -> None:
    def a(state: Log) -> None:
        raise ValueError("boom")

    def handler(state: Log, error: NodeError) -> Command[Literal["b"]]:
        assert isinstance(error.error, ValueError)
        return Command(update={"log": [f"{error.node}: {error.error}"]}, goto="b")

    builder = one_node(a, error_handler=handler)
    builder.add_node("b", lambda state: {"log": ["b"]})
    builder.add_edge("a", END)
    graph = both(builder)
    assert graph.run({}).values == {"log": ["a: boom", "b"]}
    assert graph.exported.file["nodes"]["a"]["on_error"] == "on_error_a"


def test_a_handler_for_all_nodes(both: Any) -> None:
    def fail(state: Log) -> None:
        raise ValueError("boom")

    def handler(state: Log, error: NodeError) -> dict[str, Any]:
        return {"log": [f"{error.node} failed"]}

    def build() -> Any:
        builder = one_node(fail)
        builder.add_node("b", fail)
        builder.add_edge(START, "b")
        return builder.set_node_defaults(error_handler=handler)

    graph = both(build)
    assert graph.run({}).values == {"log": ["a failed", "b failed"]}
    assert graph.exported.file["nodes"]["a"]["on_error"] == "on_error_any"


def test_a_timeout_is_langgraphs(both: Any) -> None:
    async def a(state: Log) -> None:
        await asyncio.sleep(5)

    came = both(one_node(a, timeout=TimeoutPolicy(run_timeout=0.05))).server.run(input={})
    assert came.error is not None and came.error[0] == "NodeTimeoutError"
    assert "exceeded its run timeout of 0.050s" in came.error[1]


def test_a_cache_key_of_the_programs_own(both: Any, place: tuple[Mounts, str]) -> None:
    policy = CachePolicy(key_func=lambda state: f"x is {state['x']}", ttl=60)
    graph = both(one_node(lambda state: {"log": ["a"]}, cache_policy=policy), cache=InMemoryCache())
    cache = graph.exported.file["nodes"]["a"]["cache"]
    assert cache["ttl"] == "60s"
    ask = {"kind": "cache_key", "task_id": "t", "node": "a", "input": {"x": 3}}
    assert httpx.post(cache["key"]["http"]["url"], json=ask).json() == {"key": "x is 3"}


# Graphs within.


class Sub(TypedDict, total=False):
    log: Annotated[list, operator.add]
    inner: str


def inner_graph() -> Any:
    def s(state: Sub) -> dict[str, Any]:
        return {"log": [interrupt("inner?")]}

    builder = StateGraph(Sub)
    builder.add_node("s", s)
    builder.add_edge(START, "s")
    return builder.compile()


def test_a_graph_as_a_node_is_a_subgraph(both: Any) -> None:
    graph = both(one_node(inner_graph()))
    node = graph.exported.file["nodes"]["a"]
    assert (node["kind"], node["memory"]) == ("subgraph", "call")
    assert node["graph"]["nodes"]["s"]["url"].endswith("/nodes/a/s")
    graph.run({"log": ["in"]})
    assert graph.asked() == ["inner?"]
    assert graph.resume("answer").values == {"log": ["in", "in", "answer"]}


def test_nodes_of_a_subgraph_have_what_the_outermost_graph_was_given(both: Any) -> None:
    @dataclasses.dataclass
    class Context:
        user: str

    store = InMemoryStore()
    store.put(("a",), "k", {"v": 1})

    def s(state: Log, runtime: Runtime[Any], config: RunnableConfig) -> dict[str, Any]:
        item = runtime.store.get(("a",), "k")
        return {
            "log": [runtime.context.user, item.value["v"], config["metadata"]["langgraph_checkpoint_ns"].count("|")]
        }

    builder = StateGraph(Log, context_schema=Context)
    builder.add_node("a", one_node(s).compile())
    builder.add_edge(START, "a")
    assert both(builder, store=store).run({}, context={"user": "ada"}).values == {"log": ["ada", 1, 1]}


def test_a_graph_within_a_function_runs_in_the_service(both: Any) -> None:
    inner = inner_graph()

    def a(state: Log) -> dict[str, Any]:
        before = interrupt("before?")
        return {"log": [before, *inner.invoke({"log": []})["log"]]}

    graph = both(one_node(a))
    assert any("invokes a graph in its function" in warning for warning in graph.exported.warnings)
    graph.run({})
    graph.resume("first")
    assert graph.asked() == ["inner?"]
    assert graph.server.run(command={"resume": "second"}).values == {"log": ["first", "second"]}


def test_a_command_of_a_graph_within_a_function_is_the_nodes(both: Any) -> None:
    builder = StateGraph(Sub)
    builder.add_node("s", lambda state: Command(graph=Command.PARENT, update={"log": ["up"]}, goto="b"))
    builder.add_edge(START, "s")
    inner = builder.compile()
    outer = one_node(lambda state: inner.invoke({"log": []}))
    outer.add_node("b", lambda state: {"log": ["b"]})
    assert both(outer).run({}).values == {"log": ["up", "b"]}


def test_a_command_of_a_subgraph_for_its_parent(both: Any) -> None:
    def up(state: Sub) -> Command[Any]:
        return Command(graph=Command.PARENT, update={"log": ["up"]}, goto=["b", Send("c", {"log": ["sent"]})])

    builder = StateGraph(Sub)
    builder.add_node("first", lambda state: {"log": ["lost"]})
    builder.add_node("up", up)
    builder.add_edge(START, "first")
    builder.add_edge("first", "up")
    outer = one_node(builder.compile())
    outer.add_node("b", lambda state: {"log": ["b"]})
    outer.add_node("c", lambda state: {"log": [*state["log"], "c"]})
    assert both(outer).run({}).values == {"log": ["up", "b", "sent", "c"]}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="LangGraph's @task wants a context in async nodes")
def test_tasks_that_a_node_calls_run_in_the_service(both: Any) -> None:
    @task
    async def double(n: int) -> int:
        return 2 * n

    async def a(state: Log) -> dict[str, Any]:
        return {"log": await asyncio.gather(*(double(n) for n in (1, 2, 3)))}

    graph = both(one_node(a))
    came = graph.server.run(input={})
    assert came.values == asyncio.run(graph.app.ainvoke({}, {"configurable": {"thread_id": "u"}}))
