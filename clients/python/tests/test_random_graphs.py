"""Random graphs, written as LangGraph code: served unchanged they do what they do in LangGraph, call by call."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cases.observe import InLangGraph, Served
from cases.write import module_of
from millstream.langgraph import export, service_of
from serving import Mounts, serving
from under_test import start

CASES = [json.loads(line) for line in (Path(__file__).parent / "cases" / "cases.jsonl").read_text().splitlines()]

#: LangGraph may lose what finishes beside a failing node, the more often the busier the machine is. What it does in one
#: of these runs is what it does.
TRIES = 5


@pytest.fixture(scope="module")
def mounts() -> Iterator[tuple[Mounts, str]]:
    mounts = Mounts()
    with serving(mounts) as url:
        yield mounts, url


def module(case: dict[str, Any], folder: Path, name: str) -> Any:
    """The graph as a module: each has its own count of executions."""
    path = folder / f"{name}.py"
    path.write_text(module_of(case))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    try:
        spec.loader.exec_module(made)
    finally:
        del sys.modules[name]
    return made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_served_graph_does_what_langgraph_does(
    case: dict[str, Any], mounts: tuple[Mounts, str], tmp_path: Path
) -> None:
    graph = module(case, tmp_path, "served").graph
    exported = export(graph, case["id"], url=mounts[1])
    assert exported.errors == []
    mounts[0].app = service_of(graph, case["id"]).asgi()
    served = Served(start(exported.file))
    got = [served.call(call) for call in case["calls"]]
    for _ in range(TRIES):
        expected = in_langgraph(case, tmp_path)
        if all(map(agree, got, expected)):
            return
    for number, call in enumerate(case["calls"]):
        assert agree(got[number], expected[number]) or got[number] == expected[number], f"call {number}: {call}"


def agree(got: dict[str, Any], expected: dict[str, Any]) -> bool:
    """A state that LangGraph can't read for its own writes may be shown (docs/langgraph-differences.md)."""
    if expected.get("state_error"):
        got, expected = ({name: seen[name] for name in ("error", "steps")} for seen in (got, expected))
    return got == expected


def in_langgraph(case: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    library = InLangGraph(module(case, folder, "in_langgraph"))
    # LangGraph's sync mode fails on a subgraph without a checkpointer.
    durability = "async" if "memory_none" in case["flags"] else "sync"
    return [library.call(call, durability=durability) for call in case["calls"]]
