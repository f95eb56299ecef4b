"""What a node's function may use besides its input: the task, its answers, its stream, the store."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from millstream import wire
from millstream.events import Events
from millstream.store import Store


class Interrupted(BaseException):
    """A question without an answer yet. Not an Exception, so that `except Exception` lets it pass."""

    def __init__(self, question: dict[str, Any]) -> None:
        super().__init__("the node asks, and runs again when it is answered")
        self.question = question


class Failed(Exception):
    """Says of an error what Millstream should make of it."""

    def __init__(
        self, message: str, *, type: str | None = None, retryable: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.type = type
        self.retryable = retryable
        #: Seconds.
        self.retry_after = retry_after


class Task:
    """The task that a function runs for."""

    def __init__(self, ask: wire.Ask, events: Events) -> None:
        self.ask = ask
        self._events = events
        self._asked = 0
        self.calls: list[wire.Call] = []

    @property
    def id(self) -> str:
        return self.ask.task_id

    @property
    def idempotency_key(self) -> str:
        """The same whenever this is asked again: keep it with what is done, and do it once."""
        return self.ask.idempotency_key

    @property
    def attempt(self) -> int:
        """From 1."""
        return self.ask.attempt

    @property
    def context(self) -> Any:
        """The run's, read only."""
        return self.ask.context

    @property
    def thread_id(self) -> str | None:
        return self.ask.thread_id

    @property
    def remaining_steps(self) -> int:
        return self.ask.remaining_steps

    @property
    def answers_used(self) -> int:
        return min(self._asked, len(self.ask.answers))

    @property
    def store(self) -> Store:
        """The long-term store."""
        if self.ask.store is None:
            raise RuntimeError("this server offers nodes no long-term store")
        return Store(self.ask.store)

    def interrupt(self, value: Any, *, response_schema: dict[str, Any] | None = None) -> Any:
        index = self._asked
        self._asked += 1
        if index < len(self.ask.answers):
            return self.ask.answers[index]
        question = {"value": value}
        if response_schema is not None:
            question["response_schema"] = response_schema
        raise Interrupted(question)

    def show(self, value: Any) -> None:
        """An event of the node's own, for whoever watches."""
        self._events.custom(value)

    def token(self, text: str, *, message_id: str | None = None, kind: str = "text") -> None:
        self._events.token(text, message_id=message_id, kind=kind)

    def used(self, call: wire.Call) -> None:
        """Tells of a call to a model, so that its tokens are counted."""
        self.calls.append(call)


current: ContextVar[Task] = ContextVar("millstream_task")


def current_task() -> Task:
    """The task that this code runs for."""
    try:
        return current.get()
    except LookupError:
        raise RuntimeError("no task is being run here: call this within a node or a decision") from None


def interrupt(value: Any, *, response_schema: dict[str, Any] | None = None) -> Any:
    """Asks a person and waits, for months if need be: the run ends as `interrupted`. When the answer is there the node
    runs again from the top, and this call returns it. The i-th call of a node gets the i-th answer."""
    return current_task().interrupt(value, response_schema=response_schema)


def get_stream_writer() -> Callable[[Any], None]:
    """Shows values to whoever watches the run, at once."""
    return current_task().show


def get_store() -> Store:
    """The long-term store, for the time of this task."""
    return current_task().store
