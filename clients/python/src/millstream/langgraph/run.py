"""Runs one node, or one branch, of a compiled graph: its own code and its own writers, one task at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import Runnable
from langgraph._internal._runnable import RunnableCallable, RunnableSeq
from langgraph.pregel._read import PregelNode

from millstream import wire
from millstream.events import Events
from millstream.langgraph import values
from millstream.langgraph.answer import answered
from millstream.langgraph.attempt import Around, Attempt
from millstream.langgraph.doors import Doors


class NodeRunner:
    """One node of a compiled graph."""

    def __init__(self, graph: Any, around: Around, name: str) -> None:
        self.graph = graph
        self.around = around
        self.name = name
        self.node: PregelNode = graph.nodes[name]
        self.policies = tuple(self.node.retry_policy or graph.retry_policy or ())
        self.doors = Doors(graph)

    async def __call__(self, ask: wire.Ask, events: Events) -> wire.Answer:
        attempt = Attempt(self.graph, self.around, self.name, ask, events)
        returned: list[Any] = []
        return await answered(
            attempt, self.policies, lambda: self._run(attempt, returned), lambda: _extra(self, returned)
        )

    async def _run(self, attempt: Attempt, returned: list[Any]) -> None:
        value = self.value_of(attempt)

        def keep(output: Any) -> Any:
            returned.append(output)
            return output

        async def akeep(output: Any) -> Any:
            return keep(output)

        # The first writer is the node's own: its update and its Command. Edges and branches are Millstream's.
        kept = RunnableCallable(keep, akeep, name="keep", trace=False, recurse=False)
        runnable = RunnableSeq(self.node.bound, kept, self.node.writers[0], trace_policy=self.node.trace_policy)
        await attempt.run(self.name, runnable, value, self.node, code=self.node.bound)

    def value_of(self, attempt: Attempt) -> Any:
        """What the node's function is given: the argument of its send, or the channels of its input schema."""
        ask = attempt.ask
        if ask.pushed:
            argument = self.doors.argument(self.name, ask.input)
            attempt.state = argument if isinstance(argument, Mapping) else {}
            return argument
        attempt.state = self.doors.state(ask.input or {})
        channels = self.node.channels
        value = attempt.read([channels] if isinstance(channels, str) else channels)
        return self.node.mapper(value) if self.node.mapper is not None else value


class BranchRunner:
    """One conditional edge of a compiled graph."""

    def __init__(self, graph: Any, around: Around, start: str, name: str, writer: Runnable[Any, Any]) -> None:
        self.graph = graph
        self.around = around
        self.start = start
        self.name = name
        self.writer = writer
        node: PregelNode = graph.nodes[start]
        self.policies = tuple(node.retry_policy or graph.retry_policy or ())
        self.doors = Doors(graph)

    async def __call__(self, ask: wire.Ask, events: Events) -> wire.Answer:
        attempt = Attempt(self.graph, self.around, self.start, ask, events)

        async def run() -> None:
            attempt.state = self.doors.state(ask.input or {})
            # A branch whose input isn't typed sees what the node returned beside the state.
            beside = {key: values.revive(value) for key, value in ask.extra.items()} if ask.extra else None
            path = self.graph.builder.branches[self.start][self.name].path
            await attempt.run(self.start, self.writer, beside, None, code=path)

        return await answered(attempt, self.policies, run, lambda: None)


def _extra(runner: NodeRunner, returned: list[Any]) -> dict[str, Any] | None:
    """What a node returned that is no state: its branches may read it."""
    if not returned or not isinstance(returned[-1], dict) or not runner.graph.builder.branches.get(runner.name):
        return None
    known = runner.graph.channels
    found = {}
    for key, value in returned[-1].items():
        if key not in known:
            found[str(key)] = values.to_json(value, f"{key!r}, which node {runner.name} returned")
    return found or None
