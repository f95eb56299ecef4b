"""One attempt at one task, as LangGraph's loop would have set it up: the config, the answers, where writes go.

What runs the code is LangGraph's own runner, with its retries left out; its interrupt(), its stream writer and its
@task find in the config what they look for.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast
from uuid import UUID

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph._internal._config import merge_configs, patch_config, patch_configurable
from langgraph._internal._constants import (
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_NODE_ERROR,
    CONFIG_KEY_READ,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
    CONFIG_KEY_TASK_ID,
)
from langgraph._internal._runnable import RunnableCallable
from langgraph._internal._scratchpad import PregelScratchpad
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.errors import NodeError
from langgraph.managed.base import is_managed_value
from langgraph.pregel._algo import LazyAtomicCounter, _xxhash_str, prepare_push_task_functional
from langgraph.pregel._executor import AsyncBackgroundExecutor, BackgroundExecutor
from langgraph.pregel._read import PregelNode
from langgraph.pregel._runner import PregelRunner
from langgraph.pregel.main import _coerce_context
from langgraph.runtime import ExecutionInfo, Runtime
from langgraph.store.base import BaseStore
from langgraph.types import PregelExecutableTask

from millstream import wire
from millstream.events import Events
from millstream.langgraph import values
from millstream.langgraph.failures import failure_of
from millstream.langgraph.store import OwnStore, TaskStore
from millstream.langgraph.tokens import handlers

#: Before 3.11 an async task has no context of its own, and what is found by context (interrupt(), get_stream_writer(),
#: get_config()) isn't found in plain functions below one: they run as LangGraph's own `invoke` runs them.
BY_THREAD = sys.version_info < (3, 11)


class Questions:
    """The task's answers, taken in the order of its interrupt() calls, also of those in subgraphs that it invokes."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self.answers = list(answers)
        self._asked = itertools.count()
        self._next = 0

    def next(self) -> int:
        self._next = next(self._asked) + 1
        return self._next - 1

    def take(self, consume: bool = False) -> Any:
        """For a question below this graph; None where there is no answer yet."""
        if self._next >= len(self.answers):
            return None
        return self.answers[self.next()] if consume else self.answers[self._next]

    @property
    def used(self) -> int:
        return min(self._next, len(self.answers))


@dataclass(frozen=True)
class Around:
    """What nodes have of the outermost graph, however deep they lie."""

    context_schema: Any
    store: BaseStore | None
    config: RunnableConfig
    #: The program's store goes before Millstream's.
    own_store: bool = False

    @classmethod
    def of(cls, graph: Any, *, own_store: bool = False) -> Around:
        return cls(graph.context_schema, graph.store, merge_configs(graph.config), own_store)

    def below(self, subgraph: Any) -> Around:
        return replace(self, config=merge_configs(self.config, subgraph.config))


class Attempt:
    """What one task needs around a node's code: config, captured writes, tokens."""

    def __init__(self, graph: Any, around: Around, node: str, ask: wire.Ask, events: Events) -> None:
        self.graph = graph
        self.around = around
        self.node = node
        self.ask = ask
        self.events = events
        self.writes: deque[tuple[str, Any]] = deque()
        self.calls: list[wire.Call] = []
        self.questions = Questions([values.revive(answer) for answer in ask.answers])
        self.state: Mapping[str, Any] = {}

    @cached_property
    def scratchpad(self) -> PregelScratchpad:
        return PregelScratchpad(
            step=self.ask.step,
            stop=self.ask.step + self.ask.remaining_steps,
            call_counter=LazyAtomicCounter(),
            interrupt_counter=self.questions.next,
            get_null_resume=self.questions.take,
            resume=self.questions.answers,
            subgraph_counter=LazyAtomicCounter(),
        )

    @property
    def task_path(self) -> tuple[Any, ...]:
        return ("__pregel_push", self.ask.push_index, False) if self.ask.pushed else ("__pregel_pull", self.node)

    def read(self, select: str | list[str], fresh: bool = False) -> Any:
        """What the node's code reads by itself: the state that came with the task."""
        if isinstance(select, str):
            return self.state.get(select)
        found = {name: self.state[name] for name in select if name in self.state}
        managed = managed_of(self.graph)
        found.update({name: managed[name].get(self.scratchpad) for name in select if name in managed})
        return found

    def config(self, node: PregelNode | None) -> RunnableConfig:
        ask = self.ask
        metadata: dict[str, Any] = {
            **ask.metadata,
            "langgraph_step": ask.step,
            "langgraph_node": self.node,
            "langgraph_triggers": ask.triggers,
            "langgraph_path": self.task_path,
            "langgraph_checkpoint_ns": ask.checkpoint_ns,
        }
        if ask.thread_id is not None:
            metadata.setdefault("thread_id", ask.thread_id)
        if node is not None and node.metadata:
            metadata.update(node.metadata)
        # Clients fill `configurable`: LangGraph's own keys aren't theirs to set.
        given = {key: value for key, value in ask.configurable.items() if not key.startswith("__")}
        configurable: dict[str, Any] = {
            **given,
            CONFIG_KEY_TASK_ID: ask.task_id,
            CONFIG_KEY_SEND: self.writes.extend,
            CONFIG_KEY_READ: self.read,
            # A subgraph that the node invokes keeps nothing: it begins anew whenever the task does.
            CONFIG_KEY_CHECKPOINTER: None,
            CONFIG_KEY_CHECKPOINT_MAP: {},
            CONFIG_KEY_CHECKPOINT_ID: None,
            CONFIG_KEY_CHECKPOINT_NS: ask.checkpoint_ns,
            CONFIG_KEY_SCRATCHPAD: self.scratchpad,
            CONFIG_KEY_RUNTIME: self.runtime,
        }
        if ask.thread_id is not None:
            configurable["thread_id"] = ask.thread_id
        if ask.user is not None:
            configurable.setdefault("langgraph_auth_user_id", ask.user)
        if ask.failure is not None:
            configurable[CONFIG_KEY_NODE_ERROR] = NodeError(node=ask.failure.node, error=failure_of(ask.failure))
        asked: RunnableConfig = {
            "metadata": metadata,
            "tags": [*ask.tags, *((node.tags if node is not None else None) or [])],
            "configurable": configurable,
            "callbacks": handlers(self.events, self.calls),
        }
        if ask.recursion_limit is not None:
            asked["recursion_limit"] = ask.recursion_limit
        return patch_config(merge_configs(self.around.config, asked), run_name=self.node)

    @cached_property
    def runtime(self) -> Runtime[Any]:
        ask = self.ask
        return Runtime(
            context=_coerce_context(self.around.context_schema, ask.context),
            store=self.store,
            stream_writer=lambda value: self.events.custom(values.to_json(value, "what the stream writer was given")),
            execution_info=ExecutionInfo(
                checkpoint_id=ask.checkpoint_id or "",
                checkpoint_ns=ask.checkpoint_ns,
                task_id=ask.task_id,
                thread_id=ask.thread_id,
                run_id=ask.run_id or None,
                node_attempt=ask.attempt,
            ),
        )

    @property
    def store(self) -> BaseStore | None:
        own = self.around.store
        if self.around.own_store and own is not None:
            return OwnStore(own)
        if self.ask.store is not None:
            return TaskStore(self.ask.store)
        return OwnStore(own) if own is not None else None

    async def run(
        self, name: str, runnable: Runnable[Any, Any], value: Any, node: PregelNode | None, *, code: Any
    ) -> None:
        """By LangGraph's runner, so that @task calls and timeouts work as there; raises what the code raised.

        ``code`` is the user's part of what runs.
        """
        task = PregelExecutableTask(
            name=name,
            input=value,
            proc=_Attempt(runnable, self.ask.attempt),
            writes=self.writes,
            config=self.config(node),
            triggers=self.ask.triggers,
            # Millstream makes the attempts: each is a request of its own.
            retry_policy=(),
            cache_key=None,
            id=self.ask.task_id,
            path=self.task_path,
            writers=node.flat_writers[:1] if node is not None else (),
            subgraphs=node.subgraphs if node is not None else (),
            timeout=node.timeout if node is not None else None,
        )
        if BY_THREAD and runs_sync(code):
            await asyncio.to_thread(self._tick, task)
        else:
            await self._atick(task)

    async def _atick(self, task: PregelExecutableTask) -> None:
        keep = _Keep()

        async def schedule(task: PregelExecutableTask, index: int, call: Any = None) -> PregelExecutableTask | None:
            return self._schedule(task, index, call)

        async with AsyncBackgroundExecutor(task.config) as submit:
            runner = PregelRunner(submit=weakref.WeakMethod(submit), put_writes=weakref.WeakMethod(keep.writes))
            async for _ in runner.atick([task], schedule_task=schedule):
                pass

    def _tick(self, task: PregelExecutableTask) -> None:
        keep = _Keep()
        with BackgroundExecutor(task.config) as submit:
            runner = PregelRunner(submit=weakref.WeakMethod(submit), put_writes=weakref.WeakMethod(keep.writes))
            for _ in runner.tick([task], schedule_task=self._schedule):
                pass

    def _schedule(self, task: PregelExecutableTask, index: int, call: Any = None) -> PregelExecutableTask | None:
        """A function under @task that the node calls: it runs in here, and runs again whenever the node does."""
        checkpoint_id = self.ask.checkpoint_id or str(UUID(int=0))
        checkpoint = {**empty_checkpoint(), "id": checkpoint_id}
        pushed = prepare_push_task_functional(
            ("__pregel_push", task.path, index, task.id, call),
            None,
            checkpoint=cast(Any, checkpoint),
            checkpoint_id_bytes=UUID(checkpoint_id).bytes,
            pending_writes=[],
            channels={},
            managed={},
            config=task.config,
            step=self.ask.step,
            stop=self.ask.step + self.ask.remaining_steps,
            for_execution=True,
            store=self.store,
            parent_ns=self.ask.checkpoint_ns,
            task_id_func=_xxhash_str,
        )
        return cast("PregelExecutableTask | None", pushed)


class _Attempt(Runnable[Any, Any]):
    """LangGraph counts the attempts that it makes itself: here each is its first. This says which one it is."""

    def __init__(self, runnable: Runnable[Any, Any], attempt: int) -> None:
        self._runnable = runnable
        self._attempt = attempt

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return self._runnable.invoke(input, self._numbered(config), **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return await self._runnable.ainvoke(input, self._numbered(config), **kwargs)

    def _numbered(self, config: RunnableConfig | None) -> RunnableConfig:
        assert config is not None
        runtime: Runtime[Any] = config["configurable"][CONFIG_KEY_RUNTIME]
        numbered = runtime.patch_execution_info(node_attempt=self._attempt)
        return patch_configurable(config, {CONFIG_KEY_RUNTIME: numbered})


class _Keep:
    """The runner wants somebody who stores writes; the answer is read from the task."""

    def writes(self, task_id: str, writes: Sequence[tuple[str, Any]]) -> None:
        return None


def runs_sync(code: Any) -> bool:
    """All but what is a coroutine function and nothing else."""
    return not (isinstance(code, RunnableCallable) and code.func is None)


def managed_of(graph: Any) -> dict[str, Any]:
    """`remaining_steps` and the like: computed, not stored."""
    return {name: spec for name, spec in graph.channels.items() if is_managed_value(spec)}
