"""Writes the graph file of a compiled graph. What runs is the program, over HTTP; what the file says is the graph."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from langgraph._internal._cache import default_cache_key
from langgraph.graph.state import CompiledStateGraph
from langgraph.managed.base import is_managed_value
from langgraph.pregel import Pregel
from langgraph.pregel._read import PregelNode
from langgraph.pregel._write import ChannelWrite
from langgraph.types import CachePolicy, RetryPolicy
from pydantic import TypeAdapter

from millstream.langgraph import channels
from millstream.langgraph.channels import Channel, NotExported, nullable

#: Where a node answers unless told.
DEFAULT_URL = "http://127.0.0.1:9000"
#: What the worker waits beyond a node's own timeout, which the service keeps.
GRACE_SECONDS = 5

_NAME = re.compile(r"^(?!START$|END$|__)[^|:&,>]+$")
_START, _END = "__start__", "__end__"


@dataclass
class Export:
    """A graph file as a value, and what a person should know of it."""

    file: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Address:
    """Where things of one graph are served; a subgraph's lie below its node's name."""

    url: str
    headers: dict[str, str] | None = None
    path: tuple[str, ...] = ()

    def below(self, name: str) -> Address:
        return Address(self.url, self.headers, (*self.path, name))

    def of(self, folder: str, *names: str) -> str:
        parts = [quote(part, safe="") for part in (*self.path, *names)]
        return "/".join([self.url.rstrip("/"), folder, *parts])

    def call(self, folder: str, *names: str) -> dict[str, Any]:
        call: dict[str, Any] = {"url": self.of(folder, *names)}
        if self.headers:
            call["headers"] = dict(self.headers)
        return call


def export(
    graph: CompiledStateGraph[Any, Any, Any, Any],
    name: str,
    *,
    url: str = DEFAULT_URL,
    headers: dict[str, str] | None = None,
    description: str | None = None,
) -> Export:
    """The graph's file. ``errors`` says what a graph file can't say: then the file isn't to be used."""
    found = Export({"version": 1, "name": name})
    if description:
        found.file["description"] = description
    _Exporter(graph, found, Address(url, headers), name).all()
    return found


class _Exporter:
    def __init__(self, graph: Any, found: Export, at: Address, what: str, *, cached: bool = False) -> None:
        self.graph = graph
        #: LangGraph keeps caches only where a cache was given to compile, here or above.
        self.cached = cached or graph.cache is not None
        self.builder = graph.builder
        self.found = found
        self.at = at
        self.what = what

    def all(self) -> None:
        file = self.found.file
        if "__root__" in self.builder.channels:
            self.error("its state is one value without keys: give the state a schema with keys, such as a TypedDict")
            return
        file["state"] = self.state()
        self.schemas(file)
        file["nodes"] = self.nodes()
        file["edges"] = self.edges()
        for when in ("before", "after"):
            stops = getattr(self.graph, f"interrupt_{when}_nodes")
            if stops:
                file[f"interrupt_{when}"] = list(file["nodes"]) if stops == "*" else list(stops)
        if limit := (self.graph.config or {}).get("recursion_limit"):
            file["limits"] = {"recursion_limit": limit}
        self.left_out()

    # What a graph knows.

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        for name, channel in self.builder.channels.items():
            try:
                one = channels.channel_of(name, channel)
            except NotExported as reason:
                self.error(str(reason))
                continue
            self.found.warnings.extend(one.warnings)
            state[name] = self.channel(one)
        return state

    def channel(self, one: Channel) -> Any:
        if one.reducer == "messages":
            return {"type": "messages"}
        said: dict[str, Any] = dict(one.schema or {})
        if one.own:
            said["reducer"] = {"http": self.at.call("reducers", one.name)}
        elif one.reducer != "last":
            said["reducer"] = one.reducer
        if one.has_default:
            said["default"] = one.default
        return said or None

    def schemas(self, file: dict[str, Any]) -> None:
        every = set(self.builder.channels)
        for field_name, schema in (("input", self.builder.input_schema), ("output", self.builder.output_schema)):
            names = [key for key, spec in self.builder.schemas[schema].items() if not is_managed_value(spec)]
            if set(names) != every:
                file[field_name] = names
        if self.builder.context_schema is not None:
            file["context"] = _context(self.builder.context_schema)

    # What runs.

    def nodes(self) -> dict[str, Any]:
        nodes: dict[str, Any] = {}
        for name, spec in self.builder.nodes.items():
            exported = self.name_of(name)
            node: PregelNode = self.graph.nodes[name]
            if not _NAME.match(exported):
                self.error(f"node `{name}`: a graph file has no names with | : & , > or a leading __; rename it")
            if exported in nodes:
                self.error(f"node `{name}`: its name in the file, `{exported}`, is another node's; rename that")
            subgraph = node.bound
            if isinstance(subgraph, CompiledStateGraph):
                said = self.subgraph(exported, subgraph)
            else:
                said = {"kind": "http", **self.at.call("nodes", name), "stream": True}
                self.inside(name, node)
            self.policies(exported, node, spec, said)
            if spec.ends:
                said["destinations"] = [_named(end) for end in spec.ends]
            nodes[exported] = said
        return nodes

    def subgraph(self, name: str, subgraph: Any) -> dict[str, Any]:
        inner = Export({"version": 1, "name": name})
        _Exporter(subgraph, inner, self.at.below(name), f"{self.what}.{name}", cached=self.cached).all()
        self.found.warnings.extend(inner.warnings)
        self.found.errors.extend(inner.errors)
        memory = {None: "call", True: "thread", False: "none"}.get(subgraph.checkpointer, "call")
        if subgraph.checkpointer not in (None, True, False):
            self.warn(f"node `{name}`: its subgraph's own checkpointer is left out; Millstream keeps its state by call")
        return {"kind": "subgraph", "graph": inner.file, "memory": memory}

    def inside(self, name: str, node: PregelNode) -> None:
        for subgraph in node.subgraphs:
            if isinstance(subgraph, Pregel):
                self.warn(
                    f"node `{name}` invokes a graph in its function: that graph runs within the service, keeps nothing "
                    "between its calls, and begins anew when the node is resumed. Add it as a node of its own to have "
                    "it checkpointed and streamed"
                )

    def policies(self, name: str, node: PregelNode, spec: Any, said: dict[str, Any]) -> None:
        if policies := tuple(node.retry_policy or self.graph.retry_policy or ()):
            said["retry"] = _retry(policies)
        if node.timeout is not None:
            self.timeout(name, node.timeout, said)
        cache = node.cache_policy or self.graph.cache_policy
        if cache is not None and self.cached and not spec.is_error_handler:
            said["cache"] = self.cache(name, cache)
        if spec.defer:
            said["defer"] = True
        if node.error_handler_node is not None:
            said["on_error"] = self.name_of(node.error_handler_node)
        if node.metadata:
            said["metadata"] = dict(node.metadata)

    def timeout(self, name: str, timeout: Any, said: dict[str, Any]) -> None:
        if timeout.run_timeout is not None:
            # The service ends the attempt itself, with LangGraph's error: the worker comes a little later.
            said["timeout"] = _duration(float(timeout.run_timeout) + GRACE_SECONDS)
        if timeout.idle_timeout is not None:
            self.warn(f"node `{name}`: its idle timeout is kept by the service, and not seen in the graph file")

    def cache(self, name: str, policy: CachePolicy[Any]) -> dict[str, Any]:
        said: dict[str, Any] = {}
        if policy.ttl is not None:
            said["ttl"] = _duration(policy.ttl)
        if policy.key_func is not default_cache_key:
            said["key"] = {"http": self.at.call("cache-keys", name)}
        return said

    def name_of(self, name: str) -> str:
        """Error handlers have names that no node of a file may have."""
        if not self.builder.nodes[name].is_error_handler:
            return name
        plain = name.removeprefix("__error_handler__") if name.startswith("__error_handler__") else "any"
        return f"on_error_{plain.strip('_') or 'any'}"

    # What runs after what.

    def edges(self) -> list[Any]:
        edges: list[Any] = []
        for start, end in sorted(self.builder.edges, key=self.edge_order):
            edges.append(f"{_named(start)} -> {_named(end)}")
        for starts, end in sorted(self.builder.waiting_edges, key=repr):
            if end != _END:
                edges.extend(self.waiting(list(starts), end))
        for start, branches in self.builder.branches.items():
            for name, branch in branches.items():
                decide = self.at.call("decisions", _named(start), name)
                if branch.ends is not None:
                    decide["to"] = sorted({_named(end) for end in branch.ends.values()})
                edges.append({"from": _named(start), "decide": decide})
        return edges

    def waiting(self, starts: list[str], end: str) -> Iterable[str]:
        if len(starts) == 1:
            # LangGraph waits for one; so does a plain edge.
            return [f"{_named(starts[0])} -> {_named(end)}"]
        return [f"{' & '.join(starts)} -> {_named(end)}"]

    def edge_order(self, edge: tuple[str, str]) -> tuple[int, int, str]:
        """LangGraph keeps edges in a set: the order of the nodes makes the file the same every time."""
        order = [_START, *self.builder.nodes]
        return (order.index(edge[0]), order.index(edge[1]) if edge[1] in order else len(order), edge[1])

    # What is Millstream's own.

    def left_out(self) -> None:
        graph = self.graph
        if graph.checkpointer not in (None, True, False) and not self.at.path:
            self.warn("its checkpointer is left out: Millstream keeps the state of threads")
        if graph.store is not None and not self.at.path:
            self.warn(
                "its store gives way to Millstream's long-term store where the server has one; "
                "`millstream-py serve --own-store` keeps the program's"
            )
        if graph.step_timeout is not None:
            self.error("its step_timeout has no equal: give its nodes timeouts")

    def error(self, text: str) -> None:
        self.found.errors.append(f"{self.what}: {text}")

    def warn(self, text: str) -> None:
        self.found.warnings.append(f"{self.what}: {text}")


def branch_writers(graph: Any, start: str) -> dict[str, Any]:
    """The branches of a node by name: LangGraph attaches them in order, after its edges."""
    names = list(graph.builder.branches.get(start, {}))
    writers = [writer for writer in graph.nodes[start].writers if not isinstance(writer, ChannelWrite)]
    if len(writers) != len(names):
        raise NotExported(
            f"node `{start}` has writers that aren't its branches: this LangGraph isn't the one it was made for"
        )
    return dict(zip(names, writers, strict=True))


def _named(name: str) -> str:
    return {_START: "START", _END: "END"}.get(name, name)


def _context(schema: Any) -> dict[str, Any]:
    described = TypeAdapter(schema).json_schema()
    required = set(described.get("required", ()))
    definitions = described.get("$defs")
    context = {}
    for name, one in described.get("properties", {}).items():
        one = {key: value for key, value in one.items() if key != "title"}
        if definitions and "$ref" in str(one):
            one = {**one, "$defs": definitions}
        context[name] = one if name in required or "default" in one else nullable(one)
    return context


def _retry(policies: tuple[RetryPolicy, ...]) -> dict[str, Any]:
    """Which errors are tried again the service says with each; of several policies, which wait longer too."""
    one = policies[0]
    if len(policies) == 1:
        interval, factor, longest, jitter = one.initial_interval, one.backoff_factor, one.max_interval, one.jitter
    else:
        interval = longest = min(policy.initial_interval for policy in policies)
        factor, jitter = 1.0, any(policy.jitter for policy in policies)
    return {
        "max_attempts": max(policy.max_attempts for policy in policies),
        "initial_interval": _duration(interval),
        "backoff_factor": factor,
        "max_interval": _duration(longest),
        "jitter": jitter,
    }


def _duration(seconds: float) -> str:
    millis = round(seconds * 1000)
    return f"{millis // 1000}s" if millis % 1000 == 0 else f"{millis}ms"
