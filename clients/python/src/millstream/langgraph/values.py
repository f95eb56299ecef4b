"""The door between JSON and what LangGraph's nodes work with: messages and values of declared types.

Outwards everything becomes plain JSON, as clients want to read it. Inwards the declared type of a channel says what a
value was; where none is declared, only messages are known again, by their shape.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import functools
import ipaddress
import pathlib
import re
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.messages import AnyMessage, BaseMessage, BaseMessageChunk, RemoveMessage, message_chunk_to_message
from langgraph.types import Overwrite
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

#: Says of a send's argument that it was an object of its node's declared input type, and not a dict.
TYPE_KEY = "__type__"

_MESSAGE_TYPES = {"human", "ai", "system", "tool", "function", "chat", "remove"}
#: What every message has when LangChain writes it out, and hardly anything else.
_MESSAGE_FIELDS = {"type", "content", "additional_kwargs", "response_metadata"}
_ANY_MESSAGE: TypeAdapter[Any] = TypeAdapter(AnyMessage)

#: Types that JSON keeps as they are.
_NATIVE = (str, int, float, bool, type(None))
#: Types that pydantic makes again from JSON.
_REVIVED = (
    BaseModel,
    BaseMessage,
    bytes,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    enum.Enum,
    frozenset,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    pathlib.PurePath,
    re.Pattern,
    set,
    tuple,
    uuid.UUID,
)


class NoJson(TypeError):
    """A value that can't leave the process."""


def to_json(value: Any, what: str = "a value") -> Any:
    """Plain JSON. ``what`` names the value in the error that a person reads."""
    if value is None or isinstance(value, (str, bool)):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, (int, float)):
        return _number(value, what)
    if isinstance(value, BaseMessage):
        return _message(value)
    if isinstance(value, Overwrite):
        return {"__overwrite__": to_json(value.value, what)}
    if isinstance(value, Mapping):
        return {_key(key, what): to_json(item, f"{what}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item, f"{what}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        # In an order of its own, so that the same set is the same bytes.
        return sorted((to_json(item, what) for item in value), key=repr)
    if isinstance(value, BaseModel):
        return {name: to_json(getattr(value, name), f"{what}.{name}") for name in type(value).model_fields}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: to_json(getattr(value, one.name), f"{what}.{one.name}") for one in dataclasses.fields(value)}
    try:
        return to_jsonable_python(value)
    except Exception:
        raise NoJson(
            f"{what} is of type {type(value).__module__}.{type(value).__qualname__}, which has no JSON form: "
            "keep in the state what JSON can say, and make the object in the node that needs it"
        ) from None


def _number(value: int | float, what: str) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise NoJson(f"{what} is {value}, which has no JSON form")
    return value


def _key(key: Any, what: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return key
    if isinstance(key, (int, float, bool, uuid.UUID, datetime.date)):
        return str(key)
    raise NoJson(f"{what} has a key of type {type(key).__name__}: keys of JSON objects are strings")


def _message(message: BaseMessage) -> dict[str, Any]:
    if isinstance(message, BaseMessageChunk):
        message = message_chunk_to_message(message)
    return message.model_dump(mode="json")


def revive(value: Any) -> Any:
    """What JSON says where no type is declared: the same, with messages known by their shape."""
    if isinstance(value, dict):
        if value.keys() >= _MESSAGE_FIELDS and value["type"] in _MESSAGE_TYPES:
            return message(value)
        return {key: revive(item) for key, item in value.items()}
    if isinstance(value, list):
        return [revive(item) for item in value]
    return value


def message(value: Any) -> Any:
    """A message from its JSON; what isn't one stays as it is."""
    if not isinstance(value, dict) or value.get("type") not in _MESSAGE_TYPES:
        return value
    if value["type"] == "remove":
        return RemoveMessage(id=value.get("id") or "")
    try:
        return _ANY_MESSAGE.validate_python(value)
    except ValidationError:
        return value


def messages(value: Any) -> Any:
    return [message(one) for one in value] if isinstance(value, list) else message(value)


@functools.cache
def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(annotation)
    except Exception:
        return None


def reviver(annotation: Any) -> Callable[[Any], Any]:
    """Makes values of a declared type from their JSON.

    JSON's own types are never coerced: LangGraph doesn't check them either. What doesn't fit its type is left alone.
    """
    try:
        if not _needs_reviving(annotation, frozenset()) or (adapter := _adapter(annotation)) is None:
            return revive
    except TypeError:  # An annotation that can't be hashed.
        return revive

    def of_type(value: Any) -> Any:
        try:
            # The messages in it first, since they may be declared by their base class alone.
            return adapter.validate_python(_with_messages(value, annotation))
        except Exception:
            return revive(value)

    return of_type


def _with_messages(value: Any, annotation: Any) -> Any:
    return _deep_messages(value) if _mentions(annotation, BaseMessage, frozenset()) else value


def _deep_messages(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("type") in _MESSAGE_TYPES and ("content" in value or value["type"] == "remove"):
            return message(value)
        return {key: _deep_messages(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_deep_messages(item) for item in value]
    return value


def _needs_reviving(annotation: Any, seen: frozenset[Any]) -> bool:
    if annotation in seen:
        return False
    seen = seen | {annotation}
    origin = typing.get_origin(annotation)
    if origin in (dict, collections.abc.Mapping, collections.abc.MutableMapping):
        key, item = (*typing.get_args(annotation), Any, Any)[:2]
        return key not in (str, Any) or _needs_reviving(item, seen)
    if isinstance(origin, type) and issubclass(origin, (tuple, set, frozenset, collections.abc.Set)):
        return True
    if origin is typing.Literal:
        return any(isinstance(one, enum.Enum) for one in typing.get_args(annotation))
    if origin is not None:
        return any(_needs_reviving(one, seen) for one in _arguments(annotation))
    if not isinstance(annotation, type):
        return False
    if annotation in _NATIVE:
        return False
    if issubclass(annotation, _REVIVED) or dataclasses.is_dataclass(annotation):
        return True
    if typing.is_typeddict(annotation) or _is_typed_dict(annotation):
        return any(_needs_reviving(one, seen) for one in hints_of(annotation).values())
    return False


def _mentions(annotation: Any, wanted: type, seen: frozenset[Any]) -> bool:
    if annotation in seen:
        return False
    seen = seen | {annotation}
    if isinstance(annotation, type) and not typing.get_origin(annotation):
        if issubclass(annotation, wanted):
            return True
        if _is_typed_dict(annotation) or issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation):
            return any(_mentions(one, wanted, seen) for one in hints_of(annotation).values())
        return False
    return any(_mentions(one, wanted, seen) for one in _arguments(annotation))


def _arguments(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) is typing.Annotated:
        return typing.get_args(annotation)[:1]
    if isinstance(annotation, (types.UnionType, types.GenericAlias)) or typing.get_origin(annotation) is not None:
        return tuple(one for one in typing.get_args(annotation) if one is not Ellipsis and not isinstance(one, list))
    return ()


def _is_typed_dict(annotation: Any) -> bool:
    # typing_extensions has a TypedDict of its own, which typing doesn't know.
    return isinstance(annotation, type) and issubclass(annotation, dict) and hasattr(annotation, "__total__")


def hints_of(annotation: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(annotation)
    except (NameError, TypeError):  # It names what only its own function knows.
        return {}
