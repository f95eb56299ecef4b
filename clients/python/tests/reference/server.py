"""What tests may ask of a server that runs a graph file. The real one takes the place of `ReferenceServer`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from reference.calls import Calls, Told
from reference.channels import RunError, invalid_update
from reference.fold import (
    ERROR,
    INTERRUPT,
    NULL,
    RESUME,
    Asked,
    Loop,
    Question,
    Task,
    Threads,
    ToParent,
    apply,
    prepare,
    read,
)
from reference.graph import START, Graph


@dataclass
class Came:
    """What became of one call: the error's type, the last values, and each event in order."""

    error: tuple[str, str] | None = None
    values: dict[str, Any] | None = None
    events: list[tuple[str, list[str], dict[str, Any]]] = field(default_factory=list)
    told: Told = field(default_factory=Told)


@dataclass
class Snapshot:
    values: dict[str, Any]
    next: list[str]
    tasks: list[dict[str, Any]]
    interrupts: list[Question]
    step: int | None
    source: str | None


class Server(Protocol):
    """One graph, one thread."""

    def run(
        self,
        *,
        input: dict[str, Any] | None = None,
        command: dict[str, Any] | None = None,
        context: Any = None,
        checkpoint: int | None = None,
        recursion_limit: int = 25,
    ) -> Came: ...

    def update_state(
        self, values: dict[str, Any] | None, *, as_node: str | None = None, checkpoint: int | None = None
    ) -> Came: ...

    def state(self) -> Snapshot: ...

    def history(self) -> list[Snapshot]: ...


class ReferenceServer:
    """The Server of `reference`, which calls the services that the file names."""

    def __init__(self, file: dict[str, Any], *, check: bool = False, store: dict[str, str] | None = None) -> None:
        self.calls = Calls(check=check, store=store)
        self.graph = Graph(file, self.calls.reduce)
        self.threads = Threads(self.graph, self.calls)

    def run(
        self,
        *,
        input: dict[str, Any] | None = None,
        command: dict[str, Any] | None = None,
        context: Any = None,
        checkpoint: int | None = None,
        recursion_limit: int = 25,
    ) -> Came:
        given = {"__command__": command} if command is not None else input
        asked = Asked(limit=recursion_limit, checkpoint_id=self._checkpoint(checkpoint), context=context)
        self.threads.events = []
        self.calls.told = Told()
        came = Came(events=self.threads.events, told=self.calls.told)
        try:
            came.values = Loop(self.threads, self.graph, (), [], given, asked).run()
        except RunError as error:
            came.error = (error.type, error.message)
        except ToParent:
            came.error = ("ParentCommand", "")
        return came

    def update_state(
        self, values: dict[str, Any] | None, *, as_node: str | None = None, checkpoint: int | None = None
    ) -> Came:
        came = Came()
        try:
            self._update(values, as_node, self._checkpoint(checkpoint))
        except RunError as error:
            came.error = (error.type, error.message)
        return came

    def state(self) -> Snapshot:
        return self._snapshot(None, latest=True)

    def history(self) -> list[Snapshot]:
        """Oldest first."""
        return [self._snapshot(one, latest=False) for one in sorted(self.threads.kept.get((), {}))]

    def _checkpoint(self, index: int | None) -> Any:
        kept = sorted(self.threads.kept.get((), {}))
        return kept[index % len(kept)] if index is not None and kept else None

    def _update(self, values: dict[str, Any] | None, as_node: str | None, checkpoint_id: Any) -> None:
        graph, threads = self.graph, self.threads
        saved = threads.get((), checkpoint_id)
        checkpoint, channels = threads.load(graph, saved)
        as_node = as_node or self._last_node(checkpoint.seen)
        if as_node is None:
            raise invalid_update("Ambiguous update, specify as_node")
        if as_node not in graph.nodes:
            raise invalid_update(f"Node {as_node} does not exist")
        loop = Loop(threads, graph, (), [], None, Asked(limit=25))
        loop.channels, loop.checkpoint = channels, checkpoint
        step = saved.step if saved else -2
        loop.step = loop.stop = step + 1
        task = Task(as_node, (), [INTERRUPT], id=("update", step))
        allowed = graph.input if as_node == START else graph.state
        updates = [(name, value) for name, value in (values or {}).items() if name in allowed]
        loop._finish(task, graph.nodes[as_node], updates, [], None, 0)
        apply(checkpoint, channels, [task], graph)
        parent = saved.id if saved else None
        checkpoint.id = threads.new_id()
        threads.put((), checkpoint, channels, "update", step + 1, parent)

    def _last_node(self, seen: dict[str, dict[str, int]]) -> str | None:
        if len(self.graph.nodes) == 1 or not any(version for one in seen.values() for version in one.values()):
            return START
        ran = sorted(
            (version, name) for name, one in seen.items() if name in self.graph.nodes for version in one.values()
        )
        if len(ran) == 1 or (ran and ran[-1][0] != ran[-2][0]):
            return ran[-1][1]
        return None

    def _snapshot(self, checkpoint_id: Any, *, latest: bool) -> Snapshot:
        graph = self.graph
        saved = self.threads.get((), checkpoint_id)
        if saved is None:
            return Snapshot({}, [], [], [], None, None)
        checkpoint, channels = self.threads.load(graph, saved)
        tasks = prepare(graph, checkpoint, channels, (), saved.step + 1, by_name=False)
        pending = list(saved.writes.values())
        if nulls := [(name, value) for task_id, name, value in pending if task_id == NULL]:
            apply(checkpoint, channels, [Task("__input__", (), [], writes=nulls)], graph)
        if latest:
            for task in tasks:
                task.writes = [
                    (name, value)
                    for task_id, name, value in pending
                    if task_id == task.id and name not in (ERROR, INTERRUPT, RESUME)
                ]
            if finished := [task for task in tasks if task.writes]:
                apply(checkpoint, channels, finished, graph, snapshot=True)
        shown, questions = [], []
        for task in tasks:
            asked = [
                one for task_id, name, value in pending if task_id == task.id and name == INTERRUPT for one in value
            ]
            if latest and task.writes:
                asked = []
            questions += asked
            failed = any(task_id == task.id and name == ERROR for task_id, name, _ in pending)
            shown.append({"name": task.name, "error": failed, "interrupts": [one.value for one in asked]})
        return Snapshot(
            read(channels, graph.state),
            [task.name for task in tasks if not task.writes],
            shown,
            questions,
            saved.step,
            saved.source,
        )
