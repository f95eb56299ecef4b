"""The graph file that an export writes, and what it says where a graph can't be written."""

from __future__ import annotations

import json
import operator
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest
import yaml
from langgraph.channels import EphemeralValue, LastValue, Topic
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph.types import RetryPolicy, TimeoutPolicy
from typing_extensions import TypedDict

from millstream.cli import main
from millstream.langgraph import NoGraph, export, load

HERE = Path(__file__).parent
SCHEMA = HERE.parents[2] / "schemas" / "json" / "graph.v1.schema.json"
EXAMPLES = HERE.parent / "examples" / "langgraph"


class Log(TypedDict, total=False):
    log: Annotated[list, operator.add]


def node(state: Any) -> dict[str, Any]:
    return {"log": ["ran"]}


def chain(*names: str, schema: Any = Log, **options: Any) -> Any:
    builder = StateGraph(schema)
    for name in names:
        builder.add_node(name, node, **options)
    for source, target in zip((START, *names), (*names, END), strict=True):
        builder.add_edge(source, target)
    return builder


def exported(graph: Any) -> dict[str, Any]:
    found = export(graph, "g", url="http://py:9000")
    assert found.errors == []
    return found.file


def file_schema() -> dict[str, Any]:
    """The language's schema, with the words that this export needs and the schema doesn't have yet."""
    schema = json.loads(SCHEMA.read_text())
    definitions = schema["definitions"]
    call = {
        "type": "object",
        "required": ["url"],
        "additionalProperties": False,
        "properties": {"url": {"type": "string"}, "headers": {"type": "object"}},
    }
    names = {"type": "array", "items": {"type": "string"}}
    for kind in ("http_node", "subgraph_node"):
        definitions[kind]["properties"]["destinations"] = names
        definitions[kind]["properties"]["cache"] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "ttl": {"$ref": "#/definitions/duration"},
                "key": {"type": "object", "required": ["http"], "properties": {"http": call}},
            },
        }
    decide = next(form for form in definitions["edge"]["anyOf"] if "decide" in form.get("properties", {}))
    decide["properties"]["decide"]["properties"]["to"] = names
    channel = next(form for form in definitions["channel"]["anyOf"] if form.get("type") == "object")
    own = next(form for form in channel["properties"]["reducer"]["anyOf"] if form.get("type") == "object")
    own["properties"]["http"] = {"anyOf": [{"type": "string"}, call]}
    return schema


CASES = [json.loads(line) for line in (HERE / "cases" / "cases.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["chat_with_tools", "map_reduce", "approval"])
def test_the_files_of_the_examples_fit_the_languages_schema(name: str) -> None:
    file = exported(load(f"{EXAMPLES / name}.py:graph"))
    jsonschema.Draft7Validator(file_schema()).validate(file)


def test_the_files_of_random_graphs_fit_the_languages_schema(tmp_path: Path) -> None:
    from cases.write import module_of

    validator = jsonschema.Draft7Validator(file_schema())
    for case in CASES:
        path = tmp_path / f"{case['id']}.py"
        path.write_text(module_of(case))
        validator.validate(exported(load(f"{path}:graph")))


def test_an_export_is_the_same_every_time() -> None:
    names = ["e", "d", "c", "b", "a"]
    builder = chain(*names)
    builder.add_edge(["a", "b"], "d")
    builder.add_edge(["c", "e"], "a")
    assert json.dumps(exported(builder.compile())) == json.dumps(exported(builder.compile()))
    assert exported(builder.compile())["edges"][:3] == ["START -> e", "e -> d", "d -> c"]


def test_state_input_output_and_context() -> None:
    class State(MessagesState):
        n: int
        log: Annotated[list[str], operator.add]
        total: Annotated[float, operator.add]
        seen: Annotated[dict, operator.or_]
        once: Annotated[str, EphemeralValue]
        told: Annotated[list, Topic(str)]

    class Given(TypedDict):
        n: int

    class Context(TypedDict):
        user: str

    builder = StateGraph(State, input_schema=Given, output_schema=Log, context_schema=Context)
    builder.add_node("a", node)
    builder.add_edge(START, "a")
    file = exported(builder.compile())
    assert file["state"] == {
        "messages": {"type": "messages"},
        "n": {"type": ["integer", "null"]},
        "log": {"items": {"type": "string"}, "type": "array", "reducer": "append", "default": []},
        "total": {"type": "number", "reducer": "sum", "default": 0.0},
        "seen": {"additionalProperties": True, "type": "object", "reducer": "merge", "default": {}},
        "once": {"type": ["string", "null"], "reducer": "ephemeral"},
        "told": {"reducer": "topic"},
    }
    assert (file["input"], file["output"]) == (["n"], ["log"])
    assert file["context"] == {"user": {"type": "string"}}


def test_nodes_policies_and_edges() -> None:
    async def slow(state: Log) -> None: ...

    builder = chain("a", "b")
    builder.add_node(
        "c",
        slow,
        defer=True,
        metadata={"team": "care"},
        destinations=("a", END),
        timeout=TimeoutPolicy(run_timeout=30),
        retry_policy=RetryPolicy(max_attempts=5, initial_interval=0.25, jitter=False),
    )
    builder.add_edge(["a", "b"], "c")
    builder.add_conditional_edges("b", lambda state: "yes", {"yes": "c", "no": END})
    graph = builder.compile(interrupt_before=["b"], interrupt_after="*").with_config(recursion_limit=7)
    file = exported(graph)
    assert file["nodes"]["c"] == {
        "kind": "http",
        "url": "http://py:9000/nodes/c",
        "stream": True,
        "retry": {
            "max_attempts": 5,
            "initial_interval": "250ms",
            "backoff_factor": 2.0,
            "max_interval": "128s",
            "jitter": False,
        },
        "timeout": "35s",
        "defer": True,
        "metadata": {"team": "care"},
        "destinations": ["a", "END"],
    }
    assert file["edges"] == [
        "START -> a",
        "a -> b",
        "b -> END",
        "a & b -> c",
        {"from": "b", "decide": {"url": "http://py:9000/decisions/b/condition", "to": ["END", "c"]}},
    ]
    assert file["interrupt_before"] == ["b"]
    assert file["interrupt_after"] == ["a", "b", "c"]
    assert file["limits"] == {"recursion_limit": 7}


def test_a_token_goes_with_every_address() -> None:
    class State(TypedDict, total=False):
        x: Annotated[int, lambda left, right: left - right]

    builder = chain("a", schema=State)
    builder.add_conditional_edges("a", lambda state: END)
    headers = {"authorization": "Bearer ${env.NODES_TOKEN}"}
    file = export(builder.compile(), "g", url="${env.NODES_URL}/", headers=headers).file
    calls = [file["nodes"]["a"], file["edges"][-1]["decide"], file["state"]["x"]["reducer"]["http"]]
    assert [call["headers"] for call in calls] == [headers] * 3
    assert calls[0]["url"] == "${env.NODES_URL}/nodes/a"


class Unguarded(TypedDict, total=False):
    x: Annotated[int, EphemeralValue(int, guard=False)]


class OwnChannel(LastValue):  # type: ignore[type-arg]
    pass


class Strange(TypedDict, total=False):
    x: Annotated[int, OwnChannel(int)]


def stepped(graph: Any) -> Any:
    graph.step_timeout = 5
    return graph


def handled() -> Any:
    builder = chain("on_error_a")
    builder.add_node("a", node, error_handler=node)
    return builder.compile()


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (handled, "its name in the file, `on_error_a`, is another node's"),
        (lambda: chain("a", schema=Unguarded).compile(), "guard=False: Millstream takes one write a step"),
        (lambda: chain("a", schema=Strange).compile(), "OwnChannel, which no graph file has"),
        (lambda: chain("a", schema=list).compile(), "its state is one value without keys"),
        (lambda: chain("a, b").compile(), "node `a, b`: a graph file has no names with"),
        (lambda: chain("__a").compile(), "node `__a`: a graph file has no names with"),
        (lambda: stepped(chain("a").compile()), "its step_timeout has no equal: give its nodes timeouts"),
    ],
)
def test_what_no_graph_file_can_say_is_an_error(graph: Any, says: str) -> None:
    errors = export(graph(), "g").errors
    assert len(errors) == 1, errors
    assert says in errors[0]


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (lambda: chain("a").compile(checkpointer=InMemorySaver()), "its checkpointer is left out"),
        (lambda: chain("a").compile(store=InMemoryStore()), "`millstream-py serve --own-store` keeps the program's"),
    ],
)
def test_what_becomes_millstreams_is_a_warning(graph: Any, says: str) -> None:
    found = export(graph(), "g")
    assert found.errors == []
    assert [says in warning for warning in found.warnings] == [True]


def test_what_is_no_graph_is_told_apart(tmp_path: Path) -> None:
    @entrypoint()
    def functional(given: int) -> int:
        return given

    path = tmp_path / "agents.py"
    path.write_text("def make():\n    pass\n\nnumber = 5\n")
    for target, says in (
        ("graph", "names no graph: write module:graph"),
        ("nowhere.at.all:graph", "there is no module 'nowhere.at.all' here"),
        (f"{tmp_path}/none.py:graph", "there is no file"),
        (f"{path}:graph", "has no 'graph'"),
        (f"{path}:make", "is a function: name the compiled graph that it makes"),
        (f"{path}:number", "is a int and no compiled graph"),
    ):
        with pytest.raises(NoGraph, match=says):
            load(target)
    from millstream.langgraph.load import compiled

    with pytest.raises(NoGraph, match="functional API"):
        compiled(functional, "f")


def test_the_command_writes_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", f"{EXAMPLES}/map_reduce.py:graph", "--url", "${env.NODES}", "--token", "TOKEN"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("# yaml-language-server: $schema=graph.v1.schema.json\n")
    file = yaml.safe_load(written)
    assert file["name"] == "map_reduce"
    assert file["nodes"]["joke"]["headers"] == {"authorization": "Bearer ${env.TOKEN}"}


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["export", "nowhere:graph"]) == 1
    assert capsys.readouterr().err == "error: there is no module 'nowhere' here\n"
    path = tmp_path / "bad.py"
    path.write_text(
        "from langgraph.graph import *\nb = StateGraph(list)\nb.add_node('a', print)\nb.add_edge(START, 'a')\n"
    )
    assert main(["export", f"{path}:b"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: bad: its state is one value without keys")


def test_off_loopback_a_token_is_wanted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MILLSTREAM_NODE_TOKEN", raising=False)
    assert main(["serve", f"{EXAMPLES}/map_reduce.py:graph", "--host", "0.0.0.0"]) == 1
    assert "set MILLSTREAM_NODE_TOKEN" in capsys.readouterr().err
