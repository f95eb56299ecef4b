"""What a service does around its nodes: tokens, callers that go away, many at a time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from typing import Any

import httpx
import pytest

from millstream import App, StoreError, current_task, get_store
from millstream.store import Store
from millstream.wire import StoreAccess
from serving import serving
from store_server import StoreServer

ASK: dict[str, Any] = {"version": 1, "kind": "task", "task_id": "t", "node": "n", "input": {}}


def test_a_token_is_asked_for() -> None:
    app = App(token="secret")

    @app.node
    def n(state: Any) -> dict[str, Any]:
        return {"ran": True}

    with serving(app) as url:
        refused = httpx.post(f"{url}/nodes/n", json=ASK)
        assert refused.status_code == 401
        assert "token" in refused.json()["error"]["message"]
        assert httpx.post(f"{url}/nodes/n", json=ASK, headers={"authorization": "Bearer secret"}).json() == {
            "update": {"ran": True}
        }


def test_two_nodes_of_one_name_are_an_error() -> None:
    app = App()
    app.node("n")(lambda state: None)
    with pytest.raises(ValueError, match="'n' is served already"):
        app.node("n")(lambda state: None)


def test_a_node_ends_when_its_caller_goes() -> None:
    app = App()
    ended = threading.Event()

    @app.node
    async def n(state: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.set()
            raise

    with serving(app) as url:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/nodes/n", json=ASK, timeout=0.2)
        assert ended.wait(5), "the connection is closed: nobody wants the answer"


def test_plain_functions_run_side_by_side() -> None:
    app = App()
    together = threading.Barrier(20, timeout=10)

    @app.node
    def n(state: Any) -> None:
        together.wait()

    with serving(app) as url, concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: httpx.post(f"{url}/nodes/n", json=ASK, timeout=20), range(20)))
    assert [answer.json() for answer in answers] == [{"update": None}] * 20


def test_each_task_sees_itself() -> None:
    app = App()

    @app.node
    async def n(state: Any) -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return {"id": current_task().id}

    with serving(app) as url, concurrent.futures.ThreadPoolExecutor(8) as pool:
        asks = [{**ASK, "task_id": str(number)} for number in range(8)]
        answers = list(pool.map(lambda ask: httpx.post(f"{url}/nodes/n", json=ask).json(), asks))
    assert [answer["update"]["id"] for answer in answers] == [ask["task_id"] for ask in asks]


def test_tokens_come_while_the_node_runs() -> None:
    app = App()

    @app.node
    def n(state: Any) -> Any:
        yield "first"
        time.sleep(0.3)
        yield {"done": True}

    headers = {"accept": "application/x-ndjson"}
    with serving(app) as url, httpx.stream("POST", f"{url}/nodes/n", json=ASK, headers=headers) as response:
        began = time.monotonic()
        lines = response.iter_lines()
        assert next(lines) == '{"token":{"text":"first"}}'
        early = time.monotonic() - began
        assert next(lines) == '{"update":{"done":true}}'
        assert time.monotonic() - began > early + 0.2


def test_the_store_within_a_node() -> None:
    app = App()

    @app.node
    def n(state: Any) -> dict[str, Any]:
        store = get_store()
        store.put(("users", "7"), "name", {"first": "Ada"})
        found = store.get(("users", "7"), "name")
        assert found is not None
        return {"found": found["value"], "missing": store.get(("users", "7"), "x"), "in": store.list_namespaces()}

    kept = StoreServer("t0ken")
    with serving(app) as url, serving(kept) as store_url:
        ask = {**ASK, "store": {"url": store_url, "token": "t0ken"}}
        answer = httpx.post(f"{url}/nodes/n", json=ask).json()
        assert answer == {"update": {"found": {"first": "Ada"}, "missing": None, "in": [["users", "7"]]}}
        spent = Store(StoreAccess(store_url, "spent"))
        with pytest.raises(StoreError, match="token"):
            spent.get(("users",), "x")
        with pytest.raises(ValueError, match=r"\$in"):
            Store(StoreAccess(store_url, "t0ken")).search((), filter={"a": {"$in": [1]}})


def test_a_node_without_a_store_says_so() -> None:
    app = App()

    @app.node
    def n(state: Any) -> None:
        get_store()

    with serving(app) as url:
        answer = httpx.post(f"{url}/nodes/n", json=ASK).json()
    assert answer["error"]["message"] == "this server offers nodes no long-term store"
