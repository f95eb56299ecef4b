"""The service of a compiled graph: its nodes, branches, reducers and cache keys, as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from langgraph.graph.state import CompiledStateGraph

from millstream import wire
from millstream.events import Events
from millstream.langgraph import channels, values
from millstream.langgraph.attempt import Around, Attempt
from millstream.langgraph.channels import NotExported
from millstream.langgraph.doors import Doors
from millstream.langgraph.export import branch_writers
from millstream.langgraph.run import BranchRunner, NodeRunner
from millstream.service import Service


def service_of(graph: CompiledStateGraph[Any, Any, Any, Any], name: str, *, own_store: bool = False) -> Service:
    """What answers at the addresses that `export` writes. With ``own_store`` nodes keep the store they were compiled
    with, where Millstream offers one of its own."""
    service = Service(name)
    _add(service, graph, Around.of(graph, own_store=own_store), ())
    return service


def _add(service: Service, graph: Any, around: Around, path: tuple[str, ...]) -> None:
    for name, node in graph.nodes.items():
        if isinstance(node.bound, CompiledStateGraph):
            _add(service, node.bound, around.below(node.bound), (*path, name))
        elif name != "__start__":
            _put(service.nodes, (*path, name), NodeRunner(graph, around, name))
            _add_cache_key(service, graph, around, (*path, name))
        for branch, writer in branch_writers(graph, name).items():
            start = "START" if name == "__start__" else name
            _put(
                service.decisions,
                (*path, start, branch),
                BranchRunner(graph, around, name, branch, writer),
            )
    for name, channel in graph.builder.channels.items():
        if channels.channel_of(name, channel).own:
            _put(service.reducers, (*path, name), _reducer(graph, name, channel))


def _put(there: dict[str, Any], path: tuple[str, ...], one: Any) -> None:
    address = "/".join(path)
    if address in there:
        raise NotExported(f"two things would be served at `{address}`: rename a node")
    there[address] = one


def _reducer(graph: Any, name: str, channel: Any) -> Callable[[wire.ReduceAsk], Any]:
    doors = Doors(graph)

    async def reduce(ask: wire.ReduceAsk) -> Any:
        left = doors.channel(name, ask.left)
        writes = [doors.channel(name, write) for write in ask.writes]
        # The reducer is the user's own code, and may take its time.
        joined = await asyncio.to_thread(channels.reduce, channel, left, writes)
        return values.to_json(joined, f"channel `{name}`")

    return reduce


def _add_cache_key(service: Service, graph: Any, around: Around, path: tuple[str, ...]) -> None:
    node = graph.nodes[path[-1]]
    policy = node.cache_policy or graph.cache_policy
    if policy is None:
        return
    runner = NodeRunner(graph, around, path[-1])

    async def cache_key(ask: wire.Ask) -> str:
        key = policy.key_func(runner.value_of(Attempt(graph, around, path[-1], ask, Events())))
        return key.hex() if isinstance(key, bytes) else str(key)

    _put(service.cache_keys, path, cache_key)
