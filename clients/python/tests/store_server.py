"""The worker's store address, over LangGraph's own in-memory store."""

from __future__ import annotations

import json
from typing import Any

from langgraph.store.base import GetOp, Item, ListNamespacesOp, MatchCondition, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore
from starlette.requests import Request
from starlette.responses import JSONResponse

from serving import live


class StoreServer:
    def __init__(self, token: str) -> None:
        self.token = token
        self.store = InMemoryStore()
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await live(receive, send)
        request = Request(scope, receive)
        await (await self._answer(request))(scope, receive, send)

    async def _answer(self, request: Request) -> JSONResponse:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return JSONResponse({"error": {"message": "the token is spent"}}, 401)
        body = json.loads(await request.body())
        self.asked += body["ops"]
        try:
            results = self.store.batch([_op(*next(iter(op.items()))) for op in body["ops"]])
        except ValueError as bad:
            return JSONResponse({"error": {"message": str(bad)}}, 422)
        named = [next(iter(op)) for op in body["ops"]]
        return JSONResponse({"results": [_result(*one) for one in zip(named, results, strict=True)]})


def _op(kind: str, of: dict[str, Any]) -> Any:
    if kind == "get":
        return GetOp(tuple(of["namespace"]), of["key"])
    if kind == "put":
        return PutOp(tuple(of["namespace"]), of["key"], of["value"], of.get("index"))
    if kind == "delete":
        return PutOp(tuple(of["namespace"]), of["key"], None)
    if kind == "search":
        return SearchOp(
            tuple(of["prefix"]), of.get("filter"), of.get("limit", 10), of.get("offset", 0), of.get("query")
        )
    conditions = tuple(MatchCondition(way, tuple(of[way])) for way in ("prefix", "suffix") if of.get(way))
    return ListNamespacesOp(conditions or None, of.get("max_depth"), of.get("limit", 100), of.get("offset", 0))


def _result(kind: str, result: Any) -> dict[str, Any]:
    if kind == "get":
        return {} if result is None else {"item": _item(result)}
    if kind == "search":
        return {"items": [_item(one) for one in result]}
    return {"namespaces": [list(one) for one in result]} if kind == "list_namespaces" else {}


def _item(item: Item) -> dict[str, Any]:
    times = {name: getattr(item, name).isoformat() for name in ("created_at", "updated_at")}
    return {"namespace": list(item.namespace), "key": item.key, "value": item.value, **times}
