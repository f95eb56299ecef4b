"""A LangGraph channel as a channel of a graph file: its reducer, its type, and what it starts with."""

from __future__ import annotations

import collections.abc
import operator
import typing
from dataclasses import dataclass, field
from typing import Annotated, Any

from langgraph._internal._typing import MISSING
from langgraph.channels import (
    AnyValue,
    BinaryOperatorAggregate,
    EphemeralValue,
    LastValue,
    Topic,
    UntrackedValue,
)
from langgraph.channels.base import BaseChannel
from langgraph.channels.binop import _strip_extras
from langgraph.channels.delta import DeltaChannel
from langgraph.graph.message import add_messages
from langgraph.types import Overwrite
from pydantic import TypeAdapter
from typing_extensions import NotRequired, Required

from millstream.langgraph import values

_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.MutableSequence)
_NUMBERS = (int, float)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


@dataclass
class Channel:
    """What the file says of a channel. ``own`` reducers are served by the program, at the channel's address."""

    name: str
    reducer: str
    own: bool = False
    schema: Any = None
    default: Any = None
    has_default: bool = False
    warnings: list[str] = field(default_factory=list)


class NotExported(Exception):
    """Something of the graph has no equal in a graph file."""


def channel_of(name: str, channel: BaseChannel[Any, Any, Any]) -> Channel:
    if type(channel) is LastValue:
        return Channel(name, "last", schema=_schema(channel.typ))
    if type(channel) is AnyValue:
        return Channel(name, "any", schema=_schema(channel.typ))
    if type(channel) in (EphemeralValue, UntrackedValue):
        return _one_step_or_run(name, channel)
    if type(channel) is Topic:
        return _topic(name, channel)
    if type(channel) is BinaryOperatorAggregate:
        return _reduced(name, channel)
    if type(channel) is DeltaChannel:
        found = Channel(name, "", own=True, schema=_schema(channel.typ))
        found.warnings.append(f"channel `{name}`: its DeltaChannel is kept as one value; long lists are chunked anyway")
        return _with_start(found, channel)
    raise NotExported(
        f"channel `{name}` is a {type(channel).__module__}.{type(channel).__qualname__}, which no graph file has: "
        "use a reducer function, which the service serves"
    )


def _one_step_or_run(name: str, channel: BaseChannel[Any, Any, Any]) -> Channel:
    kind = "ephemeral" if isinstance(channel, EphemeralValue) else "untracked"
    if not getattr(channel, "guard", True):
        raise NotExported(
            f"channel `{name}` is an {type(channel).__name__} with guard=False: Millstream takes one write a step; "
            "use guard=True, or AnyValue"
        )
    return Channel(name, kind, schema=_schema(channel.typ))


def _topic(name: str, channel: Topic[Any]) -> Channel:
    if not channel.accumulate:
        return Channel(name, "topic")
    found = Channel(name, "", own=True, default=[], has_default=True)
    found.warnings.append(f"channel `{name}`: a Topic that accumulates starts as an empty list, in LangGraph as unset")
    return found


def _reduced(name: str, channel: BinaryOperatorAggregate[Any]) -> Channel:
    plain: Any = _strip_extras(channel.typ)  # type: ignore[no-untyped-call]
    reducer = channel.operator
    start = _with_start(Channel(name, ""), channel)
    if reducer is add_messages:
        return Channel(name, "messages")
    known = None
    if start.has_default and reducer is operator.add and plain in _LISTS:
        known = "append"
    elif start.has_default and reducer is operator.add and plain in _NUMBERS:
        known = "sum"
    elif start.has_default and reducer is operator.or_ and plain in _DICTS:
        known = "merge"
    if known is None:
        start.own = True
        start.schema = _schema(channel.typ, reduced=True)
        return start
    return Channel(name, known, schema=_schema(channel.typ, reduced=True), default=start.default, has_default=True)


def _with_start(found: Channel, channel: BaseChannel[Any, Any, Any]) -> Channel:
    """LangGraph's reducers start from the type's empty value; where there is none, from the first write."""
    fresh = channel.from_checkpoint(MISSING)
    if fresh.is_available():
        found.default, found.has_default = values.to_json(fresh.get(), f"the start of channel `{found.name}`"), True
    return found


def _schema(annotation: Any, *, reduced: bool = False) -> Any:
    """The JSON Schema of a channel's values, as far as the declared type says more than `anything`.

    LangGraph checks no types: null stays allowed where nothing else forbids it.
    """
    annotation = _declared(annotation)
    if annotation is Any or isinstance(annotation, (typing.TypeVar, str)):
        return None
    try:
        schema = TypeAdapter(annotation).json_schema()
    except Exception:
        return None
    for said in ("title", "description"):
        schema.pop(said, None)
    if schema.get("items") == {}:
        del schema["items"]
    if not schema or reduced:
        return schema or None
    return nullable(schema)


def _declared(annotation: Any) -> Any:
    """Without what stands around the type: Annotated, Required, NotRequired."""
    while typing.get_origin(annotation) in (Annotated, Required, NotRequired):
        annotation = typing.get_args(annotation)[0]
    return annotation


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if schema.keys() <= {"type", "items", "properties", "additionalProperties", "required"} and isinstance(kind, str):
        return schema if kind == "null" else {**schema, "type": [kind, "null"]}
    alternatives = schema.get("anyOf")
    if isinstance(alternatives, list) and {"type": "null"} in alternatives:
        return schema
    definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    rest = {key: value for key, value in schema.items() if key != "$defs"}
    return {"anyOf": [rest, {"type": "null"}], **definitions}


def reduce(channel: BaseChannel[Any, Any, Any], left: Any, writes: list[Any]) -> Any:
    """The channel's own code on a value and writes; both as Python's values."""
    held: BaseChannel[Any, Any, Any]
    if isinstance(channel, Topic):
        held = topic = channel.copy()
        topic.values = list(left or [])
    elif isinstance(channel, DeltaChannel):
        return channel.reducer(left, writes)
    else:
        held = channel.from_checkpoint(left)
    # Millstream has already taken out what replaces the value.
    assert not any(isinstance(write, Overwrite) for write in writes)
    held.update(writes)
    return held.get()
