"""What Millstream posts and what it takes back, as docs/node-api.md says. Shapes only: nothing here runs a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

VERSION = 1

#: Content type of an answer that comes in lines.
NDJSON = "application/x-ndjson"


class BadAsk(ValueError):
    """What was posted is not of this API."""


@dataclass(frozen=True)
class GraphRef:
    name: str
    hash: str


@dataclass(frozen=True)
class StoreAccess:
    """Where the long-term store answers during this attempt, and what proves the right to ask."""

    url: str
    token: str


@dataclass(frozen=True)
class Failure:
    """What the node whose error is handled said."""

    node: str
    message: str
    type: str | None = None


@dataclass(frozen=True)
class Ask:
    """One thing that is asked of a service: ``kind`` is ``task``, ``decision`` or ``cache_key``."""

    kind: str
    version: int
    task_id: str
    issue: int
    attempt: int
    execution: str
    idempotency_key: str
    node: str
    graph: GraphRef
    run_id: str
    thread_id: str | None
    tenant: str
    user: str | None
    step: int
    remaining_steps: int
    recursion_limit: int | None
    checkpoint_id: str | None
    checkpoint_ns: str
    path: Any
    triggers: tuple[str, ...]
    input: Any
    context: Any
    configurable: Mapping[str, Any]
    metadata: Mapping[str, Any]
    tags: tuple[str, ...]
    answers: tuple[Any, ...]
    extra: Mapping[str, Any] | None
    failure: Failure | None
    timeout_ms: int | None
    store: StoreAccess | None

    @property
    def pushed(self) -> bool:
        """The task was made by a send: its input is the send's and not the state."""
        return isinstance(self.path, Mapping)

    @property
    def push_index(self) -> int:
        return int(self.path["push"]["index"]) if self.pushed else 0

    @classmethod
    def read(cls, body: Any) -> Ask:
        fields = _object(body, "the body")
        version = fields.get("version", VERSION)
        if version != VERSION:
            raise BadAsk(f"version {version!r} of the Node API is not spoken here, only {VERSION}")
        try:
            return cls._of(fields, version)
        except KeyError as missing:
            raise BadAsk(f"the body has no {missing.args[0]!r}") from missing

    @classmethod
    def _of(cls, fields: Mapping[str, Any], version: int) -> Ask:
        graph = _object(fields.get("graph") or {}, "graph")
        store = fields.get("store")
        failure = fields.get("failure")
        return cls(
            kind=fields.get("kind", "task"),
            version=version,
            task_id=fields["task_id"],
            issue=fields.get("issue", 0),
            attempt=fields.get("attempt", 1),
            execution=fields.get("execution", ""),
            idempotency_key=fields.get("idempotency_key", ""),
            node=fields["node"],
            graph=GraphRef(graph.get("name", ""), graph.get("hash", "")),
            run_id=fields.get("run_id", ""),
            thread_id=fields.get("thread_id"),
            tenant=fields.get("tenant", "default"),
            user=fields.get("user"),
            step=fields.get("step", 0),
            remaining_steps=fields.get("remaining_steps", 1),
            recursion_limit=fields.get("recursion_limit"),
            checkpoint_id=fields.get("checkpoint_id"),
            checkpoint_ns=fields.get("checkpoint_ns", ""),
            path=fields.get("path", "pull"),
            triggers=tuple(fields.get("triggers") or ()),
            input=fields.get("input"),
            context=fields.get("context"),
            configurable=fields.get("configurable") or {},
            metadata=fields.get("metadata") or {},
            tags=tuple(fields.get("tags") or ()),
            answers=tuple(fields.get("answers") or ()),
            extra=fields.get("extra"),
            failure=Failure(failure["node"], failure["message"], failure.get("type")) if failure else None,
            timeout_ms=fields.get("timeout_ms"),
            store=StoreAccess(store["url"], store["token"]) if store else None,
        )


@dataclass(frozen=True)
class ReduceAsk:
    """The writes of one step to one channel, to be joined with what it held."""

    channel: str
    left: Any
    writes: tuple[Any, ...]

    @classmethod
    def read(cls, body: Any) -> ReduceAsk:
        fields = _object(body, "the body")
        version = fields.get("version", VERSION)
        if version != VERSION:
            raise BadAsk(f"version {version!r} of the Node API is not spoken here, only {VERSION}")
        try:
            return cls(fields["channel"], fields["left"], tuple(fields["writes"]))
        except KeyError as missing:
            raise BadAsk(f"the body has no {missing.args[0]!r}") from missing


@dataclass
class Call:
    """One call to a model that the service made: Millstream counts its tokens."""

    provider: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0

    def json(self) -> dict[str, Any]:
        usage = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "reasoning_tokens": self.reasoning_tokens,
        }
        return {"provider": self.provider, "model": self.model, "usage": usage}


@dataclass
class Answer:
    """What ends a task or a decision. One of: writes and ways on; questions; an error."""

    updates: Sequence[Mapping[str, Any]] = ()
    goto: Sequence[str | Mapping[str, Any]] = ()
    to_parent: bool = False
    extra: Mapping[str, Any] | None = None
    interrupts: Sequence[Mapping[str, Any]] = ()
    error: Mapping[str, Any] | None = None
    #: How many of the task's answers it took; all where None.
    answers_used: int | None = None
    calls: Sequence[Call] = field(default_factory=tuple)

    def json(self) -> dict[str, Any]:
        body: dict[str, Any] = {}
        if self.error is not None:
            body["error"] = dict(self.error)
        elif self.interrupts:
            body["interrupts"] = [dict(one) for one in self.interrupts]
        else:
            self._ways_on(body)
        if self.answers_used is not None:
            body["answers_used"] = self.answers_used
        if self.calls:
            body["calls"] = [call.json() for call in self.calls]
        return body

    def _ways_on(self, body: dict[str, Any]) -> None:
        body["update"] = dict(self.updates[0]) if len(self.updates) == 1 else [dict(one) for one in self.updates]
        if not self.updates:
            body["update"] = None
        if self.goto:
            body["goto"] = list(self.goto)
        if self.to_parent:
            body["graph"] = "parent"
        if self.extra:
            body["extra"] = dict(self.extra)


def error(
    message: str, *, type: str | None = None, retryable: bool = False, retry_after_ms: int | None = None
) -> dict[str, Any]:
    body: dict[str, Any] = {"message": message, "retryable": retryable}
    if type is not None:
        body["type"] = type
    if retry_after_ms is not None:
        body["retry_after_ms"] = retry_after_ms
    return body


def updates_of(writes: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Writes in order as objects: a new one begins where a key comes again."""
    updates: list[dict[str, Any]] = []
    for key, value in writes:
        if not updates or key in updates[-1]:
            updates.append({})
        updates[-1][key] = value
    return updates


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadAsk(f"{what} is no JSON object")
    return value
