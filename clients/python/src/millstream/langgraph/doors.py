"""What the channels of one graph and the sends to its nodes are, made from JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langgraph.channels import BinaryOperatorAggregate
from langgraph.graph.message import add_messages

from millstream.langgraph import values


class Doors:
    """Makes the values of a graph's channels from JSON, by their declared types."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._channels: dict[str, Callable[[Any], Any]] = {}
        for name, channel in graph.builder.channels.items():
            if isinstance(channel, BinaryOperatorAggregate) and channel.operator is add_messages:
                self._channels[name] = values.messages
            else:
                self._channels[name] = values.reviver(channel.ValueType)

    def channel(self, name: str, value: Any) -> Any:
        return self._channels.get(name, values.revive)(value)

    def state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.channel(name, value) for name, value in state.items()}

    def argument(self, node: str, argument: Any) -> Any:
        """A send's argument: as an object of the node's input type where it was one."""
        if not isinstance(argument, dict):
            return values.revive(argument)
        schema = self._graph.builder.nodes[node].input_schema if node in self._graph.builder.nodes else None
        named = argument.get(values.TYPE_KEY)
        if named is not None and schema is not None and named == type_name(schema):
            return values.reviver(schema)({key: value for key, value in argument.items() if key != values.TYPE_KEY})
        hints = values.hints_of(schema) if isinstance(schema, type) else {}
        return {
            key: values.reviver(hints[key])(value)
            if key in hints and key not in self._channels
            else self.channel(key, value)
            for key, value in argument.items()
        }


def type_name(schema: type) -> str:
    return f"{schema.__module__}.{schema.__qualname__}"
