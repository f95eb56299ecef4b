"""A service as an ASGI application: addresses of nodes, decisions, reducers and cache keys, and who answers there."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from millstream import wire
from millstream.events import Events, line

log = logging.getLogger("millstream")

#: Runs a node or a decision. It doesn't raise for what the node's own code did: that is an answer.
Handler = Callable[[wire.Ask, Events], Awaitable[wire.Answer]]
#: Joins the writes of a step.
Reducer = Callable[[wire.ReduceAsk], Awaitable[Any]]
#: Names the entry of a node's cache that an input belongs to.
CacheKey = Callable[[wire.Ask], Awaitable[str]]

#: Bytes of what is posted.
BODY_BYTES_MAX = 64 * 1024 * 1024


@dataclass
class Service:
    """What answers where. Paths are below ``/nodes``, ``/decisions``, ``/reducers`` and ``/cache-keys``."""

    name: str
    nodes: dict[str, Handler] = field(default_factory=dict)
    decisions: dict[str, Handler] = field(default_factory=dict)
    reducers: dict[str, Reducer] = field(default_factory=dict)
    cache_keys: dict[str, CacheKey] = field(default_factory=dict)

    def asgi(self, *, token: str | None = None, threads: int = 64) -> Starlette:
        """The application. With a token, what is posted must carry ``Authorization: Bearer <token>``."""

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            # Plain functions block the thread that they run in: the default pool is a handful.
            pool = ThreadPoolExecutor(threads, thread_name_prefix="node")
            asyncio.get_running_loop().set_default_executor(pool)
            yield
            pool.shutdown(wait=False, cancel_futures=True)

        def post(folder: str, endpoint: Any) -> Route:
            return Route(f"/{folder}/{{path:path}}", endpoint, methods=["POST"])

        return Starlette(
            routes=[
                Route("/", self._describe),
                Route("/health", _health),
                post("nodes", _Tasks("node", self.nodes, token)),
                post("decisions", _Tasks("decision", self.decisions, token)),
                post("reducers", _Values("reducer", self.reducers, _reduce, token)),
                post("cache-keys", _Values("cache key", self.cache_keys, _cache_key, token)),
            ],
            lifespan=lifespan,
        )

    def serve(self, host: str = "127.0.0.1", port: int = 9000, *, token: str | None = None, threads: int = 64) -> None:
        """Serves until the process is told to end; calls under way are finished first."""
        import uvicorn

        uvicorn.run(self.asgi(token=token, threads=threads), host=host, port=port, log_level="info", access_log=False)

    async def _describe(self, _: Request) -> Response:
        addresses = {
            folder: sorted(f"/{folder}/{quote(path)}" for path in there)
            for folder, there in (
                ("nodes", self.nodes),
                ("decisions", self.decisions),
                ("reducers", self.reducers),
                ("cache-keys", self.cache_keys),
            )
        }
        return JSONResponse({"service": self.name, "version": wire.VERSION, **addresses})


async def _health(_: Request) -> Response:
    return JSONResponse({"ok": True})


class _Refused(Exception):
    """What was asked can't be answered; nothing was run."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def _posted(request: Request, token: str | None) -> Any:
    if token is not None:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise _Refused(
                401, "the header `authorization` lacks this service's token: set it in `headers` of the node"
            )
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise _Refused(413, f"what was posted is over {BODY_BYTES_MAX} bytes")
    try:
        return json.loads(body)
    except ValueError:
        raise _Refused(400, "what was posted is no JSON") from None


def _there(kind: str, there: Mapping[str, Any], path: str) -> Any:
    if path in there:
        return there[path]
    names = ", ".join(sorted(there)) or "none"
    raise _Refused(404, f"there is no {kind} {path!r} here; there are: {names}")


def _refusal(refused: _Refused) -> JSONResponse:
    return JSONResponse({"error": wire.error(str(refused), type="Refused")}, status_code=refused.status)


class _Tasks:
    """Takes tasks and decisions: the answer comes in lines where something is shown before it, else as one object."""

    def __init__(self, kind: str, handlers: Mapping[str, Handler], token: str | None) -> None:
        self.kind = kind
        self.handlers = handlers
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await _posted(request, self.token)
            handler: Handler = _there(self.kind, self.handlers, request.path_params["path"])
            ask = wire.Ask.read(body)
        except _Refused as refused:
            return await _refusal(refused)(scope, receive, send)
        except wire.BadAsk as bad:
            return await _refusal(_Refused(400, str(bad)))(scope, receive, send)
        except ClientDisconnect:
            return None
        events = Events(wanted=wire.NDJSON in request.headers.get("accept", ""))
        work = asyncio.create_task(_run(handler, ask, events))
        gone = asyncio.create_task(_disconnected(receive, work))
        try:
            await _respond(work, events, send)
        finally:
            gone.cancel()
            work.cancel()
            await asyncio.gather(gone, work, return_exceptions=True)
        return None


async def _run(handler: Handler, ask: wire.Ask, events: Events) -> bytes:
    """The answer's last line. Whatever goes wrong in here is an answer too: a status would be taken for the network."""
    try:
        try:
            answer = (await handler(ask, events)).json()
        except Exception as bug:
            log.exception("node %s failed outside of its own code", ask.node)
            answer = {"error": wire.error(f"{type(bug).__name__}: {bug}", type=type(bug).__name__)}
        try:
            return line(answer)
        except (TypeError, ValueError) as bad:
            message = f"what node {ask.node} answered has no JSON form: {bad}"
            return line({"error": wire.error(message, type=type(bad).__name__)})
    finally:
        events.end()


async def _respond(work: asyncio.Task[bytes], events: Events, send: Send) -> None:
    started = False
    while (piece := await events.next()) is not None:
        if not events.wanted:
            continue
        if not started:
            await _start(send, wire.NDJSON)
            started = True
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    try:
        last = await work
    except asyncio.CancelledError:
        return  # The caller is gone.
    if not started:
        await _start(send, "application/json")
    await send({"type": "http.response.body", "body": last, "more_body": False})


async def _start(send: Send, media: str) -> None:
    headers = [(b"content-type", media.encode()), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _disconnected(receive: Receive, work: asyncio.Task[bytes]) -> None:
    """Ends the work when the caller goes: the run was cancelled, or the attempt's time is up."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            work.cancel()
            return


class _Values:
    """Takes what is answered with one value: reducers and cache keys."""

    def __init__(
        self,
        kind: str,
        there: Mapping[str, Any],
        answer: Callable[[Any, Any], Awaitable[dict[str, Any]]],
        token: str | None,
    ) -> None:
        self.kind = kind
        self.there = there
        self.answer = answer
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response: Response
        try:
            body = await _posted(request, self.token)
            one = _there(self.kind, self.there, request.path_params["path"])
            response = Response(line(await self.answer(one, body)), media_type="application/json")
        except _Refused as refused:
            response = _refusal(refused)
        except wire.BadAsk as bad:
            response = _refusal(_Refused(400, str(bad)))
        except ClientDisconnect:
            return
        except Exception as failed:
            log.exception("%s %s failed", self.kind, request.path_params["path"])
            response = JSONResponse({"error": wire.error(str(failed), type=type(failed).__name__)})
        await response(scope, receive, send)


async def _reduce(reducer: Reducer, body: Any) -> dict[str, Any]:
    return {"value": await reducer(wire.ReduceAsk.read(body))}


async def _cache_key(cache_key: CacheKey, body: Any) -> dict[str, Any]:
    return {"key": await cache_key(wire.Ask.read(body))}
