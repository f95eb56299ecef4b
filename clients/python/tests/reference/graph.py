"""A graph file, made ready to run: channels, triggers and what follows each node."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from reference.channels import (
    KINDS,
    MISSING,
    REDUCERS,
    AfterFinish,
    Channel,
    Ephemeral,
    Join,
    JoinAfterFinish,
    Reduced,
    Topic,
    Trigger,
)

START, END, TASKS = "__start__", "END", "__pregel_tasks"

#: Joins writes by a reducer that a service has: (call, left, writes).
ReduceFar = Callable[[dict[str, Any], str, Any, list[Any]], Any]


@dataclass
class Node:
    name: str
    spec: dict[str, Any]
    triggers: list[str] = field(default_factory=list)
    #: (channel, value) that each finished task writes besides.
    follows: list[tuple[str, Any]] = field(default_factory=list)
    #: Calls that decide where to go.
    decisions: list[dict[str, Any]] = field(default_factory=list)
    subgraph: Graph | None = None

    @property
    def attempts(self) -> int:
        return int(self.spec.get("retry", {}).get("max_attempts", 1))


class Graph:
    def __init__(self, file: dict[str, Any], reduce_far: ReduceFar) -> None:
        self.file = file
        self._reduce_far = reduce_far
        self.state = list(file["state"])
        self.input = file.get("input") or self.state
        self.output = file.get("output") or self.state
        self.before = set(file.get("interrupt_before", ()))
        self.after = set(file.get("interrupt_after", ()))
        self._make: dict[str, Callable[[], Channel]] = {name: self._channel(name) for name in self.state}
        self._make[START] = lambda: Ephemeral(START)
        self._make[TASKS] = lambda: Topic(TASKS)
        self.nodes = {START: Node(START, {}, triggers=[START])}
        self.handlers = {spec["on_error"] for spec in file["nodes"].values() if "on_error" in spec}
        for name, spec in file["nodes"].items():
            self.nodes[name] = self._node(name, spec)
        for edge in file["edges"]:
            self._edge(edge)
        self.untracked = {name for name in self.state if not self._make[name]().stored}

    def channels(self) -> dict[str, Channel]:
        return {name: make() for name, make in self._make.items()}

    def _channel(self, name: str) -> Callable[[], Channel]:
        spec = self.file["state"][name] or {}
        if not isinstance(spec, dict):
            spec = {"type": spec}
        reducer = spec.get("reducer", "messages" if spec.get("type") == "messages" else "last")
        if isinstance(reducer, dict):
            call = reducer["http"]

            def join(left: Any, writes: list[Any]) -> Any:
                return self._reduce_far(call, name, left, writes)

            return lambda: Reduced(name, join, copy.deepcopy(spec.get("default", MISSING)))
        if reducer in REDUCERS:
            known, start = REDUCERS[reducer]
            return lambda: Reduced(name, known, copy.deepcopy(spec.get("default", start)))
        return lambda: KINDS[reducer](name)

    def _node(self, name: str, spec: dict[str, Any]) -> Node:
        trigger = f"branch:to:{name}"
        self._make[trigger] = (lambda: AfterFinish(trigger)) if spec.get("defer") else (lambda: Trigger(trigger))
        subgraph = Graph(spec["graph"], self._reduce_far) if spec["kind"] == "subgraph" else None
        return Node(name, spec, triggers=[trigger], subgraph=subgraph)

    def _edge(self, edge: Any) -> None:
        if isinstance(edge, dict):
            self.nodes[_source(edge["from"])].decisions.append(edge["decide"])
            return
        left, right = (part.strip() for part in edge.split("->"))
        sources = [_source(name.strip()) for name in left.split("&")]
        if right == END:
            return
        if len(sources) == 1:
            self.nodes[sources[0]].follows.append((f"branch:to:{right}", None))
            return
        join = f"join:{'+'.join(sources)}:{right}"
        names = frozenset(sources)
        deferred = self.nodes[right].spec.get("defer")
        self._make[join] = (lambda: JoinAfterFinish(join, names)) if deferred else (lambda: Join(join, names))
        self.nodes[right].triggers.append(join)
        for source in sources:
            self.nodes[source].follows.append((join, source))


def _source(name: str) -> str:
    return START if name == "START" else name
