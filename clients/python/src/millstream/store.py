"""The long-term store, as a node reaches it: batches of operations at the address that came with the task."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Sequence
from typing import Any, cast

import httpx

from millstream.wire import StoreAccess

TIMEOUT_SECONDS = 30.0


class StoreError(RuntimeError):
    """The store refused or couldn't be reached."""


class Store:
    """Items by namespace and key. Every method has a twin in ``a…`` for async nodes.

    A write is seen at once, by this node and by others, whatever becomes of the task: writing twice must do no harm.
    """

    def __init__(self, access: StoreAccess) -> None:
        self._access = access

    def get(self, namespace: Sequence[str], key: str) -> dict[str, Any] | None:
        return _item(self.batch([_get(namespace, key)]))

    async def aget(self, namespace: Sequence[str], key: str) -> dict[str, Any] | None:
        return _item(await self.abatch([_get(namespace, key)]))

    def put(self, namespace: Sequence[str], key: str, value: dict[str, Any], **options: Any) -> None:
        """``index``: False or a list of paths; ``ttl_ms``."""
        self.batch([_put(namespace, key, value, options)])

    async def aput(self, namespace: Sequence[str], key: str, value: dict[str, Any], **options: Any) -> None:
        await self.abatch([_put(namespace, key, value, options)])

    def delete(self, namespace: Sequence[str], key: str) -> None:
        self.batch([_delete(namespace, key)])

    async def adelete(self, namespace: Sequence[str], key: str) -> None:
        await self.abatch([_delete(namespace, key)])

    def search(self, prefix: Sequence[str], **options: Any) -> list[dict[str, Any]]:
        """``query``, ``filter``, ``limit``, ``offset``."""
        return cast("list[dict[str, Any]]", self.batch([_search(prefix, options)])[0]["items"])

    async def asearch(self, prefix: Sequence[str], **options: Any) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", (await self.abatch([_search(prefix, options)]))[0]["items"])

    def list_namespaces(self, **options: Any) -> list[list[str]]:
        """``prefix``, ``suffix``, ``max_depth``, ``limit``, ``offset``."""
        return cast("list[list[str]]", self.batch([{"list_namespaces": options}])[0]["namespaces"])

    async def alist_namespaces(self, **options: Any) -> list[list[str]]:
        return cast("list[list[str]]", (await self.abatch([{"list_namespaces": options}]))[0]["namespaces"])

    def batch(self, ops: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Operations in order, in one request."""
        try:
            answer = _client().post(self._access.url, json={"ops": list(ops)}, headers=self._headers)
        except httpx.HTTPError as failed:
            raise StoreError(f"the store can't be reached: {failed}") from failed
        return _results(answer, len(ops))

    async def abatch(self, ops: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        try:
            # Not kept: a client belongs to its event loop, and a node may run in one of its own.
            async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, verify=_trusted()) as client:
                answer = await client.post(self._access.url, json={"ops": list(ops)}, headers=self._headers)
        except httpx.HTTPError as failed:
            raise StoreError(f"the store can't be reached: {failed}") from failed
        return _results(answer, len(ops))

    @property
    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._access.token}"}


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Made once: it reads every root certificate."""
    return httpx.create_ssl_context()


@functools.cache
def _client() -> httpx.Client:
    return httpx.Client(timeout=TIMEOUT_SECONDS, verify=_trusted())


def _get(namespace: Sequence[str], key: str) -> dict[str, Any]:
    return {"get": {"namespace": list(namespace), "key": key}}


def _put(namespace: Sequence[str], key: str, value: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    return {"put": {"namespace": list(namespace), "key": key, "value": value, **options}}


def _delete(namespace: Sequence[str], key: str) -> dict[str, Any]:
    return {"delete": {"namespace": list(namespace), "key": key}}


def _search(prefix: Sequence[str], options: dict[str, Any]) -> dict[str, Any]:
    return {"search": {"prefix": list(prefix), **options}}


def _item(results: list[dict[str, Any]]) -> dict[str, Any] | None:
    return cast("dict[str, Any] | None", results[0].get("item"))


def _results(answer: httpx.Response, count: int) -> list[dict[str, Any]]:
    try:
        body = answer.json()
    except ValueError:
        raise StoreError(f"the store answered {answer.status_code} with no JSON") from None
    if not answer.is_success:
        said = (body.get("error") or {}).get("message") if isinstance(body, dict) else None
        # LangGraph's stores raise ValueError for what is asked wrongly.
        kind = ValueError if answer.status_code in (400, 422) else StoreError
        raise kind(said or f"the store answered {answer.status_code}")
    results = body.get("results")
    if not isinstance(results, list) or len(results) != count:
        raise StoreError(f"the store answered {len(results or [])} results for {count} operations")
    return results
