"""Millstream's long-term store as LangGraph's ``BaseStore``: each batch is one request to the task's address."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)

from millstream.langgraph import values
from millstream.store import Store
from millstream.wire import StoreAccess


class TaskStore(BaseStore):
    """What ``store`` is in a node that Millstream runs."""

    supports_ttl = True

    def __init__(self, access: StoreAccess) -> None:
        self._store = Store(access)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        asked = list(ops)
        answers = self._store.batch([_op(op) for op in asked])
        return [_result(op, answer) for op, answer in zip(asked, answers, strict=True)]

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        asked = list(ops)
        answers = await self._store.abatch([_op(op) for op in asked])
        return [_result(op, answer) for op, answer in zip(asked, answers, strict=True)]


class OwnStore(BaseStore):
    """A store of the program's own: async calls of one that is only sync go to a thread."""

    def __init__(self, store: BaseStore) -> None:
        self._store = store
        self.supports_ttl = store.supports_ttl

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        return self._store.batch(ops)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        try:
            return await self._store.abatch(ops)
        except NotImplementedError:
            return await asyncio.to_thread(self._store.batch, list(ops))


def _op(op: Op) -> dict[str, Any]:
    if isinstance(op, GetOp):
        return {"get": {"namespace": list(op.namespace), "key": op.key, "refresh_ttl": op.refresh_ttl}}
    if isinstance(op, PutOp):
        return _put(op)
    if isinstance(op, SearchOp):
        search = {
            "prefix": list(op.namespace_prefix),
            "filter": values.to_json(op.filter, "a filter"),
            "limit": op.limit,
            "offset": op.offset,
            "query": op.query,
            "refresh_ttl": op.refresh_ttl,
        }
        return {"search": {name: value for name, value in search.items() if value is not None}}
    if isinstance(op, ListNamespacesOp):
        return _list_namespaces(op)
    raise TypeError(f"{type(op).__name__} is no operation that Millstream's store has")


def _put(op: PutOp) -> dict[str, Any]:
    if op.value is None:
        return {"delete": {"namespace": list(op.namespace), "key": op.key}}
    put: dict[str, Any] = {
        "namespace": list(op.namespace),
        "key": op.key,
        "value": values.to_json(op.value, f"the item {op.key!r}"),
    }
    if op.index is not None:
        put["index"] = op.index
    if op.ttl is not None:
        put["ttl_ms"] = int(op.ttl * 60_000)  # LangGraph's are minutes.
    return {"put": put}


def _list_namespaces(op: ListNamespacesOp) -> dict[str, Any]:
    asked: dict[str, Any] = {"limit": op.limit, "offset": op.offset}
    for condition in op.match_conditions or ():
        asked[condition.match_type] = list(condition.path)
    if op.max_depth is not None:
        asked["max_depth"] = op.max_depth
    return {"list_namespaces": asked}


def _result(op: Op, answer: dict[str, Any]) -> Result:
    if isinstance(op, GetOp):
        item = answer.get("item")
        return None if item is None else Item(**_fields(item))
    if isinstance(op, SearchOp):
        return [SearchItem(**_fields(item), score=item.get("score")) for item in answer["items"]]
    if isinstance(op, ListNamespacesOp):
        return [tuple(namespace) for namespace in answer["namespaces"]]
    return None


def _fields(item: dict[str, Any]) -> dict[str, Any]:
    # SearchItem, unlike Item, takes no times as text.
    def at(text: str) -> datetime:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))

    return {
        "namespace": tuple(item["namespace"]),
        "key": item["key"],
        "value": item["value"],
        "created_at": at(item["created_at"]),
        "updated_at": at(item["updated_at"]),
    }
