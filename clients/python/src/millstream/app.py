"""Plain functions as nodes, decisions and reducers."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from starlette.applications import Starlette
from starlette.types import Receive, Scope
from starlette.types import Send as AsgiSend

from millstream import wire
from millstream.answers import Command, Send, answer_of, decision_of
from millstream.events import Events
from millstream.service import Handler, Service
from millstream.task import Failed, Interrupted, Task, current

log = logging.getLogger("millstream")

Function = TypeVar("Function", bound=Callable[..., Any])

#: Errors that may pass by themselves.
_PASSING = (ConnectionError, TimeoutError)


class App:
    """A service of plain functions, and an ASGI application: ``uvicorn module:app`` serves it too."""

    def __init__(self, name: str = "nodes", *, token: str | None = None) -> None:
        self._service = Service(name)
        self._token = token
        self._asgi: Starlette | None = None

    @overload
    def node(self, named: Function) -> Function: ...
    @overload
    def node(self, named: str) -> Callable[[Function], Function]: ...
    def node(self, named: Any) -> Any:
        """Serves a function at ``/nodes/<name>``. It takes the input and, if it has a second parameter, the Task.

        A generator shows what it yields: text as tokens; its update is the dict or Command that it yields or returns.
        """
        return self._add(self._service.nodes, named, answer_of)

    @overload
    def decision(self, named: Function) -> Function: ...
    @overload
    def decision(self, named: str) -> Callable[[Function], Function]: ...
    def decision(self, named: Any) -> Any:
        """Serves a function at ``/decisions/<name>``: from the state to names and Sends."""
        return self._add(self._service.decisions, named, decision_of)

    @overload
    def reducer(self, named: Function) -> Function: ...
    @overload
    def reducer(self, named: str) -> Callable[[Function], Function]: ...
    def reducer(self, named: Any) -> Any:
        """Serves a function of (left, right) at ``/reducers/<name>``: it joins what a channel holds with one write."""

        def add(function: Callable[[Any, Any], Any], name: str) -> Any:
            async def reduce(ask: wire.ReduceAsk) -> Any:
                left = ask.left
                for write in ask.writes:
                    left = await _called(function, left, write)
                return left

            _put(self._service.reducers, name, reduce)
            return function

        return _named(named, add)

    def asgi(self) -> Starlette:
        return self._service.asgi(token=self._token)

    def serve(self, host: str = "127.0.0.1", port: int = 9000) -> None:
        self._service.serve(host, port, token=self._token)

    async def __call__(self, scope: Scope, receive: Receive, send: AsgiSend) -> None:
        self._asgi = self._asgi or self.asgi()
        await self._asgi(scope, receive, send)

    def _add(self, there: dict[str, Handler], named: Any, answer: Callable[[Any], wire.Answer]) -> Any:
        def add(function: Callable[..., Any], name: str) -> Any:
            _put(there, name, functools.partial(_run, function, answer))
            return function

        return _named(named, add)


def _named(named: Any, add: Callable[[Any, str], Any]) -> Any:
    if isinstance(named, str):
        return lambda function: add(function, named)
    return add(named, named.__name__)


def _put(there: dict[str, Any], name: str, one: Any) -> None:
    if name in there:
        raise ValueError(f"{name!r} is served already: give one of the two a name, as in @app.node('other')")
    there[name] = one


async def _run(
    function: Callable[..., Any], answer: Callable[[Any], wire.Answer], ask: wire.Ask, events: Events
) -> wire.Answer:
    """Whatever the function does, as an answer."""
    task = Task(ask, events)
    token = current.set(task)
    try:
        given = (ask.input, task) if _takes_task(function) else (ask.input,)
        made = answer(await _called(function, *given, shown=task))
    except Interrupted as interrupted:
        made = wire.Answer(interrupts=[interrupted.question])
    except asyncio.CancelledError:
        raise
    except Exception as failed:
        log.warning("node %s failed", ask.node, exc_info=failed)
        made = wire.Answer(error=_error(failed))
    finally:
        current.reset(token)
    made.answers_used = task.answers_used if ask.answers else None
    made.calls = task.calls
    return made


def _error(failed: Exception) -> dict[str, Any]:
    if isinstance(failed, Failed):
        wait = None if failed.retry_after is None else int(failed.retry_after * 1000)
        kind = failed.type or type(failed).__name__
        return wire.error(str(failed), type=kind, retryable=failed.retryable, retry_after_ms=wait)
    return wire.error(str(failed), type=type(failed).__name__, retryable=isinstance(failed, _PASSING))


@functools.cache
def _takes_task(function: Callable[..., Any]) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in kinds for one in inspect.signature(function).parameters.values()) >= 2


async def _called(function: Callable[..., Any], *given: Any, shown: Task | None = None) -> Any:
    """Runs a function of any colour; one that isn't async gets a thread."""
    if inspect.isasyncgenfunction(function):
        returned = None
        async for piece in function(*given):
            returned = _piece(piece, shown, returned)
        return returned
    if inspect.iscoroutinefunction(function):
        return await function(*given)
    if inspect.isgeneratorfunction(function):
        return await asyncio.to_thread(_exhausted, function, given, shown)
    return await asyncio.to_thread(_guarded, function, given)


def _guarded(function: Callable[..., Any], given: tuple[Any, ...]) -> Any:
    try:
        return function(*given)
    except StopIteration as stopped:  # A future can't carry it.
        raise RuntimeError("the function raised StopIteration") from stopped


def _exhausted(function: Callable[..., Any], given: tuple[Any, ...], shown: Task | None) -> Any:
    returned = None
    pieces = function(*given)
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            return returned if end.value is None else end.value
        returned = _piece(piece, shown, returned)


def _piece(piece: Any, shown: Task | None, returned: Any) -> Any:
    """Text is shown; what a node may return is kept, and comes last."""
    if isinstance(piece, str) and shown is not None:
        shown.token(piece)
        return returned
    if returned is not None:
        raise TypeError("a node yields its update once, after its tokens")
    if isinstance(piece, (Mapping, Command, Send, list, tuple)):
        return piece
    raise TypeError(f"a node yields text and then its update, and not a {type(piece).__name__}")
