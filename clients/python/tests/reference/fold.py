"""LangGraph's loop over a graph file: what runs next, what is kept, what is shown."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any

from reference.calls import Calls
from reference.channels import MISSING, Channel, Overwrite, RunError
from reference.graph import END, START, TASKS, Graph, Node

NULL = "null"
PUSH = "__pregel_push"
ERROR, INTERRUPT, RESUME, NO_WRITES = "__error__", "__interrupt__", "__resume__", "__no_writes__"
SPECIAL = {ERROR: -1, INTERRUPT: -3, RESUME: -4}

#: A namespace: the nodes on the way down, each with its task's id, or None where a thread's memory is shared.
Ns = tuple[tuple[str, Any], ...]


class Paused(Exception):
    """Questions were asked, or a breakpoint was met (no questions)."""

    def __init__(self, questions: tuple[Question, ...] = ()) -> None:
        self.questions = questions


class ToParent(Exception):
    def __init__(self, updates: list[tuple[str, Any]], goto: list[Any]) -> None:
        self.updates = updates
        self.goto = goto
        self.hops = 1


@dataclass
class Question:
    id: Any
    value: Any
    response_schema: Any = None


@dataclass
class Send:
    node: str
    argument: Any


@dataclass
class Task:
    name: str
    path: tuple[Any, ...]
    triggers: list[str]
    id: Any = None
    input: Any = None
    push: bool = False
    writes: list[tuple[str, Any]] = field(default_factory=list)
    done: bool = False
    handled: bool = False
    answers: Answers | None = None
    attempt: int = 0


@dataclass
class Checkpoint:
    id: Any = None
    values: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    seen: dict[str, dict[str, int]] = field(default_factory=dict)
    source: str | None = None
    step: int = 0
    parent: Any = None
    writes: dict[Any, Any] = field(default_factory=dict)


class Answers:
    """A task's own answers, and the one that is offered to whoever asks first."""

    def __init__(self, ns: Ns, own: list[Any], offered: Any) -> None:
        self.ns = ns
        self.own = own
        self.offered = offered

    def posted(self) -> list[Any]:
        """Own answers, and behind them the one on offer."""
        offered = self.offered(False)
        return [*self.own, *([] if offered is None else [offered])]

    def use(self, count: int, task: Task) -> None:
        if count > len(self.own):
            self.own.append(self.offered(True))
        if count:
            task.writes = [write for write in task.writes if write[0] != RESUME] + [(RESUME, list(self.own[:count]))]


def path_key(path: tuple[Any, ...]) -> str:
    parts = (f"{part:010d}" if isinstance(part, int) and not isinstance(part, bool) else str(part) for part in path)
    return "~" + ", ".join(parts)


def apply(
    checkpoint: Checkpoint, channels: dict[str, Channel], tasks: list[Task], graph: Graph, *, snapshot: bool = False
) -> set[str]:
    tasks = sorted(tasks, key=lambda task: path_key(task.path))
    for task in tasks:
        seen = checkpoint.seen.setdefault(task.name, {})
        seen.update({name: checkpoint.versions[name] for name in task.triggers if name in checkpoint.versions})
    version = max(checkpoint.versions.values(), default=0) + 1
    for name in {name for task in tasks for name in task.triggers if name in channels}:
        if channels[name].consume():
            checkpoint.versions[name] = version
    by_channel: dict[str, list[Any]] = {}
    for task in tasks:
        for name, value in task.writes:
            if name not in SPECIAL and name != NO_WRITES and name in channels:
                by_channel.setdefault(name, []).append(value)
    updated = set()
    for name, values in by_channel.items():
        if channels[name].update(values):
            checkpoint.versions[name] = version
            if channels[name].available() and not snapshot:
                updated.add(name)
    if any(task.triggers for task in tasks):
        _next_step(checkpoint, channels, updated, graph, version)
    return updated


def _next_step(
    checkpoint: Checkpoint, channels: dict[str, Channel], updated: set[str], graph: Graph, version: int
) -> None:
    for name, channel in channels.items():
        if channel.available() and name not in updated and channel.update([]):
            checkpoint.versions[name] = version
            if channel.available():
                updated.add(name)
    triggers = {trigger for node in graph.nodes.values() for trigger in node.triggers}
    if not updated & triggers:
        for name, channel in channels.items():
            if channel.finish():
                checkpoint.versions[name] = version
                if channel.available():
                    updated.add(name)


def read(channels: dict[str, Channel], names: list[str]) -> dict[str, Any]:
    return {name: channels[name].value for name in names if channels[name].available()}


def prepare(
    graph: Graph, checkpoint: Checkpoint, channels: dict[str, Channel], ns: Ns, step: int, *, by_name: bool = True
) -> list[Task]:
    tasks = []
    if channels[TASKS].available():
        for index, send in enumerate(channels[TASKS].value):
            if send.node in graph.nodes:
                tasks.append(
                    Task(
                        send.node,
                        (PUSH, index, False),
                        [PUSH],
                        id=(checkpoint.id, ns, step, send.node, PUSH, index),
                        input=send.argument,
                        push=True,
                    )
                )
    for name in sorted(graph.nodes) if by_name else graph.nodes:
        node = graph.nodes[name]
        seen = checkpoint.seen.get(name, {})
        fired = [
            trigger
            for trigger in node.triggers
            if channels[trigger].available() and checkpoint.versions.get(trigger, 0) > seen.get(trigger, 0)
        ]
        if fired:
            given = channels[START].value if name == START else read(channels, graph.state)
            task_id = (checkpoint.id, ns, step, name, "pull", tuple(sorted(fired)))
            tasks.append(Task(name, ("__pregel_pull", name), list(node.triggers), id=task_id, input=given))
    return tasks


class Threads:
    """One thread's checkpoints, by namespace, and the events of the run under way."""

    def __init__(self, graph: Graph, calls: Calls) -> None:
        self.graph = graph
        self.calls = calls
        self.kept: dict[Ns, dict[Any, Checkpoint]] = {}
        self.events: list[tuple[str, list[str], dict[str, Any]]] = []
        self._made = 0

    def new_id(self) -> int:
        self._made += 1
        return self._made

    def get(self, ns: Ns, checkpoint_id: Any = None) -> Checkpoint | None:
        kept = self.kept.get(ns)
        if not kept:
            return None
        return kept.get(checkpoint_id) if checkpoint_id is not None else kept[max(kept)]

    def put(
        self, ns: Ns, checkpoint: Checkpoint, channels: dict[str, Channel], source: str, step: int, parent: Any
    ) -> None:
        self.kept.setdefault(ns, {})[checkpoint.id] = Checkpoint(
            id=checkpoint.id,
            values={name: channel.checkpoint() for name, channel in channels.items()},
            versions=dict(checkpoint.versions),
            seen={name: dict(seen) for name, seen in checkpoint.seen.items()},
            source=source,
            step=step,
            parent=parent,
        )

    def put_writes(self, ns: Ns, checkpoint_id: Any, task_id: Any, writes: list[tuple[str, Any]], graph: Graph) -> None:
        kept = self.kept[ns][checkpoint_id].writes
        for index, (name, value) in enumerate(_tracked(writes, graph)):
            key = (task_id, SPECIAL.get(name, index))
            if name in SPECIAL:
                kept[key] = (task_id, name, value)
            else:
                kept.setdefault(key, (task_id, name, value))

    def load(self, graph: Graph, saved: Checkpoint | None) -> tuple[Checkpoint, dict[str, Channel]]:
        channels = graph.channels()
        if saved is None:
            return Checkpoint(), channels
        for name, channel in channels.items():
            channel.load(saved.values.get(name, MISSING))
        seen = {name: dict(one) for name, one in saved.seen.items()}
        return Checkpoint(id=saved.id, versions=dict(saved.versions), seen=seen), channels


def _tracked(writes: list[tuple[str, Any]], graph: Graph) -> list[tuple[str, Any]]:
    if not graph.untracked:
        return writes
    kept = []
    for name, value in writes:
        if name in graph.untracked:
            continue
        if name == TASKS and isinstance(value.argument, dict):
            argument = {key: one for key, one in value.argument.items() if key not in graph.untracked}
            value = Send(value.node, argument)
        kept.append((name, value))
    return kept


@dataclass
class Asked:
    """What a run is asked to do, and what a subgraph inherits of it."""

    limit: int
    checkpoint_id: Any = None
    context: Any = None
    thread: str = "t"
    nested: bool = False
    saver: bool = True
    resuming: Any = None
    resume_map: dict[Any, Any] | None = None
    above: Answers | None = None
    fork: dict[str, Any] | None = None


class Loop:
    """One run of one graph, at one depth."""

    def __init__(self, threads: Threads, graph: Graph, ns: Ns, names: list[str], given: Any, asked: Asked) -> None:
        self.threads = threads
        self.graph = graph
        self.ns = ns
        self.names = names
        self.given = given
        self.asked = asked
        self.last: dict[str, Any] | None = None
        self.tasks: list[Task] | None = None
        self.shown = graph.output if asked.nested else graph.state
        self.rewound = False
        self.status = "running"
        self.channels: dict[str, Channel] = {}
        self.checkpoint = Checkpoint()
        self.pending: list[Any] = []

    # What is shown.

    def emit(self, kind: str, value: dict[str, Any]) -> None:
        if kind == "values":
            self.last = {key: one for key, one in value.items() if key in self.graph.output and key != INTERRUPT}
        self.threads.events.append((kind, self.names, value))

    def emit_values(self) -> None:
        self.emit("values", read(self.channels, self.shown))

    def show_writes(self, task: Task, writes: list[tuple[str, Any]], *, cached: bool = False) -> None:
        if task.name == START:
            return
        if writes[0][0] == INTERRUPT:
            questions = [{"interrupt": one.value} for name, asked in writes if name == INTERRUPT for one in asked]
            self.emit("updates", {INTERRUPT: questions})
            self.emit("values", {**read(self.channels, self.shown), INTERRUPT: 1})
        elif writes[0][0] != ERROR:
            written = [(name, value) for name, value in writes if name in self.shown]
            update: Any = dict(written) if written else None
            if update is not None and len(update) < len(written):
                update = [{name: value} for name, value in written]
            name = f"__error_handler__{task.id[0][3]}" if task.name in self.graph.handlers else task.name
            self.emit("updates", {name: update, **({"__metadata__": {"cached": True}} if cached else {})})

    # What is kept.

    def put_checkpoint(self, source: str, step: int) -> None:
        parent = self.checkpoint.id if self.has_saved else None
        self.checkpoint.id = self.threads.new_id() if self.asked.saver else ("kept nowhere", self.threads.new_id())
        if self.asked.saver:
            self.threads.put(self.ns, self.checkpoint, self.channels, source, step, parent)
        self.has_saved = True

    def put_writes(self, task_id: Any, writes: list[tuple[str, Any]]) -> None:
        if not writes:
            return
        if all(name in SPECIAL for name, _ in writes):
            writes = list({write[0]: write for write in writes}.values())
        self.pending = [one for one in self.pending if one[0] != task_id]
        self.pending += [(task_id, name, value) for name, value in writes]
        if self.asked.saver:
            self.threads.put_writes(self.ns, self.checkpoint.id, task_id, writes, self.graph)
        for task in self.tasks or ():
            if task.id == task_id:
                self.show_writes(task, writes)

    # The loop.

    def run(self) -> dict[str, Any] | None:
        self._load()
        try:
            self._first()
            while self._tick():
                self._execute()
                self._after_tick()
            if self.status == "out of steps":
                raise RunError("GraphRecursionError", "Recursion limit reached")
        except Paused as paused:
            if self.asked.nested:
                raise
            if self.tasks is not None and self.pending and any(task.writes for task in self.tasks):
                shown = apply(self.checkpoint, self.channels, self.tasks, self.graph) & set(self.shown)
                if shown:
                    self.emit_values()
            if not paused.questions:
                self.emit("updates", {INTERRUPT: []})
        return self.last

    def _load(self) -> None:
        asked, threads = self.asked, self.threads
        saved = threads.get(self.ns, asked.checkpoint_id) if asked.saver else None
        self.fork = asked.fork
        if not asked.nested and asked.checkpoint_id is not None:
            self.fork = {"before": self._cutoff(asked.checkpoint_id), "seen": set()}
        if asked.nested and self.fork and asked.saver and self.ns[-1][1] is None and self.ns not in self.fork["seen"]:
            self.fork["seen"].add(self.ns)
            older = [one for one in threads.kept.get(self.ns, {}) if one < self.fork["before"]]
            saved = threads.kept[self.ns][max(older)] if older else None
            self.rewound = True
        self.saved = saved
        self.checkpoint, self.channels = threads.load(self.graph, saved)
        self.has_saved = saved is not None
        if saved is None:
            self.checkpoint.id = ("empty", threads.new_id())
        self.pending = list(saved.writes.values()) if saved else []
        self.step = saved.step + 1 if saved else -1
        self.stop = self.step + asked.limit + 1
        self.skip_done = asked.checkpoint_id is None
        self.resuming = False if self.rewound else asked.resuming
        self.resume_map = asked.resume_map

    def _cutoff(self, checkpoint_id: Any) -> Any:
        kept = self.threads.kept[self.ns]
        while kept[checkpoint_id].source == "fork" and kept[checkpoint_id].parent is not None:
            checkpoint_id = kept[checkpoint_id].parent
        return checkpoint_id

    def _first(self) -> None:
        """New input, a command, or going on."""
        given = self.given
        command = given["__command__"] if isinstance(given, dict) and "__command__" in given else None
        inherited = self.resuming
        resumes = (given is None or command is not None) if inherited is None else inherited
        resuming = bool(self.checkpoint.versions) and resumes
        if command is not None:
            self._command(command)
        if nulls := [(name, value) for task_id, name, value in self.pending if task_id == NULL]:
            apply(self.checkpoint, self.channels, [Task("__input__", (), [], writes=nulls)], self.graph)
        if resuming:
            self._go_on(given)
        elif given is not None:
            dropped = prepare(self.graph, self.checkpoint, self.channels, self.ns, self.step)
            entry = Task("__input__", (), [], writes=[(START, given)])
            apply(self.checkpoint, self.channels, [*dropped, entry], self.graph)
            self.pending = []
            self.put_checkpoint("input", self.step)
            self.step += 1
        elif inherited is None:
            raise RunError("EmptyInputError", "Received no input for __start__")
        if not self.asked.nested:
            self.resuming = resuming

    def _command(self, command: dict[str, Any]) -> None:
        writes: list[tuple[str, Any]] = [(f"branch:to:{name}", None) for name in command.get("goto", ())]
        writes += list((command.get("update") or {}).items())
        if "answers" in command:
            self.resume_map = command["answers"]
        elif "resume" in command:
            if self._open_questions() > 1:
                raise RunError("RuntimeError", "When there are multiple pending interrupts, you must specify the id")
            writes.append((RESUME, command["resume"]))
        if not writes:
            return
        self.pending = [one for one in self.pending if one[0] != NULL or one[1] not in SPECIAL]
        kept = [(name, value) for task_id, name, value in self.pending if task_id == NULL] + writes
        self.pending += [(NULL, name, value) for name, value in writes]
        if self.asked.saver and self.has_saved:
            self.threads.put_writes(self.ns, self.checkpoint.id, NULL, kept, self.graph)

    def _open_questions(self) -> int:
        asked = [task_id for task_id, name, value in self.pending if name == INTERRUPT for _ in value]
        finished = {task_id for task_id, name, _ in self.pending if name not in SPECIAL}
        return len([task_id for task_id in asked if task_id not in finished])

    def _go_on(self, given: Any) -> None:
        seen = self.checkpoint.seen.setdefault(INTERRUPT, {})
        seen.update(
            {name: self.checkpoint.versions[name] for name in self.channels if name in self.checkpoint.versions}
        )
        if self.asked.checkpoint_id is not None and given is None and self.saved is not None:
            latest = max(self.threads.kept[self.ns]) == self.saved.id
            if not (self.saved.source in ("update", "fork") and latest):
                self.pending = []
                self.put_checkpoint("fork", self.step)
                self.step += 1
        self.emit_values()

    def _tick(self) -> bool:
        if self.step > self.stop:
            self.status = "out of steps"
            return False
        self.tasks = prepare(self.graph, self.checkpoint, self.channels, self.ns, self.step)
        if not self.tasks:
            self.status = "done"
            return False
        if self.skip_done and self.pending:
            self._restore()
        if self.graph.before and self._stops_at(self.graph.before):
            raise Paused()
        for task in self.tasks:
            task.done = bool(task.writes) or task.handled
            if task.writes:
                self.show_writes(task, task.writes, cached=True)
        return True

    def _restore(self) -> None:
        assert self.tasks is not None
        for task_id, name, value in self.pending:
            for task in self.tasks:
                if task.id == task_id and name not in SPECIAL:
                    task.writes.append((name, value))
        for task in list(self.tasks):
            if "on_error" in self.graph.nodes[task.name].spec:
                handler = self._handler(task)
                handler.writes = [(name, value) for task_id, name, value in self.pending if task_id == handler.id]
                if handler.writes:
                    task.handled = True
                    self.tasks.append(handler)

    def _stops_at(self, names: set[str]) -> bool:
        seen = self.checkpoint.seen.get(INTERRUPT, {})
        if not any(version > seen.get(name, 0) for name, version in self.checkpoint.versions.items()):
            return False
        return any(task.name in names for task in self.tasks or ())

    def _after_tick(self) -> None:
        assert self.tasks is not None
        if apply(self.checkpoint, self.channels, self.tasks, self.graph) & set(self.shown):
            self.emit_values()
        self.pending = []
        self.skip_done = True
        self.put_checkpoint("loop", self.step)
        if self.graph.after and self._stops_at(self.graph.after):
            self.step += 1
            raise Paused()
        self.resuming = None
        self.step += 1

    # Tasks.

    def _answers(self, task: Task) -> Answers:
        own = next((list(value) for id_, name, value in self.pending if id_ == task.id and name == RESUME), [])
        ns = (*self.ns, (task.name, task.id))
        for key in ((ns, len(own)), (ns, 0)):
            if self.resume_map and key in self.resume_map:
                own.append(self.resume_map[key])
                break
        offer = next((one for one in self.pending if one[0] == NULL and one[1] == RESUME), None)

        def offered(consume: bool) -> Any:
            if offer is None:
                return self.asked.above.offered(consume) if self.asked.above else None
            if not any(one is offer for one in self.pending):
                return None
            if consume:
                self.pending = [one for one in self.pending if one is not offer]
            return offer[2]

        return Answers(ns, own, offered)

    def _execute(self) -> None:
        assert self.tasks is not None
        todo = [task for task in self.tasks if not task.done]
        for task in todo:
            task.answers = self._answers(task)
        questions: list[Question] = []
        paused = False
        failed: Exception | None = None
        for task, came in self._in_order(todo):
            if came is None:
                task.writes = task.writes or [(NO_WRITES, None)]
                self.put_writes(task.id, task.writes)
            elif isinstance(came, Paused):
                paused = True  # A breakpoint in a subgraph pauses and asks nothing.
                questions.extend(came.questions)
                if came.questions:
                    used = [write for write in task.writes if write[0] == RESUME]
                    self.put_writes(task.id, [(INTERRUPT, list(came.questions)), *used])
            elif isinstance(came, ToParent):
                failed = failed or came
            else:
                task.writes.append((ERROR, came))
                self.put_writes(task.id, task.writes)
                failed = failed or self._handled(task, came)
        if failed:
            raise failed
        if paused:
            raise Paused(tuple(questions))

    def _in_order(self, todo: list[Task]) -> Any:
        """Tasks that fail come last, the nodes' own errors after all others: in LangGraph they arrive so."""
        late = []
        for task in todo:
            came = self._run(task)
            if came is None or isinstance(came, (Paused, ToParent)):
                yield task, came
            else:
                late.append((task, came))
        yield from sorted(late, key=lambda one: 2 if isinstance(one[1], RunError) and one[1].type == "CaseError" else 1)

    def _handler(self, task: Task) -> Task:
        name = self.graph.nodes[task.name].spec["on_error"]
        return Task(name, task.path, [], id=(task.id, "on_error"), input=task.input, answers=task.answers)

    def _handled(self, task: Task, came: RunError) -> Exception | None:
        if "on_error" not in self.graph.nodes[task.name].spec:
            return came
        task.writes = []
        handler = self._handler(task)
        handler.answers = Answers((*self.ns, (handler.name, handler.id)), [], lambda consume: None)
        failure = {"node": task.name, "message": came.message, "type": came.type}
        try:
            self._invoke(handler, self.graph.nodes[handler.name], failure)
        except (RunError, ToParent) as again:
            return again
        handler.writes = handler.writes or [(NO_WRITES, None)]
        assert self.tasks is not None
        self.tasks.append(handler)
        self.put_writes(handler.id, handler.writes)
        return None

    def _run(self, task: Task) -> Exception | None:
        node = self.graph.nodes[task.name]
        while True:
            task.attempt += 1
            task.writes = []
            try:
                self._invoke(task, node)
                return None
            except Paused as paused:
                return paused
            except ToParent as command:
                if command.hops == 0:
                    task.writes = [write for write in task.writes if write[0] == RESUME]
                    self._finish(task, node, command.updates, command.goto, None, 0)
                    return None
                command.hops = 0
                return command
            except RunError as error:
                if getattr(error, "retryable", False) and task.attempt < node.attempts:
                    continue
                return error

    def _invoke(self, task: Task, node: Node, failure: dict[str, Any] | None = None) -> None:
        if task.name == START:
            updates = [(name, value) for name, value in task.input.items() if name in self.graph.input]
            self._finish(task, node, updates, [], None, 0)
            return
        if node.subgraph is not None:
            output = self._subgraph(task, node)
            self._finish(task, node, list((output or {}).items()), [], None, 0)
            return
        answer = self.threads.calls.post(node.spec, self._ask(task, node, "task", task.input, failure=failure))
        assert task.answers is not None
        used = self._used(answer, task.answers.posted())
        if "error" in answer:
            task.answers.use(used, task)
            raise self._error(answer["error"])
        task.answers.use(used, task)
        if "interrupts" in answer:
            raise Paused(self._questions(answer, task))
        updates = _updates(answer)
        goto = _destinations(answer)
        if answer.get("graph") == "parent":
            raise ToParent(updates, goto)
        self._finish(task, node, updates, goto, answer.get("extra"), used)

    def _subgraph(self, task: Task, node: Node) -> dict[str, Any] | None:
        assert node.subgraph is not None
        memory = node.spec.get("memory", "call")
        ns: Ns = (*self.ns, (task.name, task.id))
        if memory == "thread":
            ns = (*((name, None) for name, _ in self.ns), (task.name, None))
        asked = Asked(
            limit=self.asked.limit,
            context=self.asked.context,
            thread=self.asked.thread,
            nested=True,
            saver=self.asked.saver and memory != "none",
            resuming=self.resuming,
            resume_map=self.resume_map,
            above=task.answers,
            fork=self.fork,
        )
        return Loop(self.threads, node.subgraph, ns, [*self.names, task.name], task.input, asked).run()

    def _finish(
        self,
        task: Task,
        node: Node,
        updates: list[tuple[str, Any]],
        goto: list[Any],
        extra: dict[str, Any] | None,
        used: int,
    ) -> None:
        task.writes += [(name, Overwrite.read(value)) for name, value in updates if name in self.graph.state]
        task.writes += [_way(one) for one in goto]
        task.writes += node.follows
        for call in node.decisions:
            state = self._as_written(task)
            body = self._ask(task, node, "decision", state, extra=extra, answers_from=used)
            answer = self.threads.calls.post(call, body)
            if task.answers is not None:
                now = self._used(answer, body["answers"])
                used += now
                task.answers.use(used, task)
            if "error" in answer:
                raise self._error(answer["error"])
            if "interrupts" in answer:
                # Nothing of the task is kept, but LangGraph's last values show what the node wrote.
                raise Paused(self._questions(answer, task))
            task.writes += [_way(one) for one in _destinations(answer)]

    def _as_written(self, task: Task) -> dict[str, Any]:
        """The state with the task's own writes, as if the step were over: what lives one step is gone."""
        state = {}
        for name in self.graph.state:
            channel = self.channels[name].copy()
            channel.update([value for key, value in task.writes if key == name])
            if channel.available():
                state[name] = channel.value
        return state

    def _ask(
        self,
        task: Task,
        node: Node,
        kind: str,
        given: Any,
        *,
        extra: dict[str, Any] | None = None,
        failure: dict[str, Any] | None = None,
        answers_from: int = 0,
    ) -> dict[str, Any]:
        task_id = uuid_of(task.id)
        ns = "|".join(f"{name}:{uuid_of(id_)}" if id_ is not None else name for name, id_ in self.ns)
        name = "START" if task.name == START else task.name
        ask = {
            "version": 1,
            "kind": kind,
            "task_id": task_id,
            "issue": 0,
            "attempt": max(1, task.attempt),
            "execution": task_id,
            "idempotency_key": f"{task_id}.0",
            "node": name,
            "graph": {"name": self.graph.file["name"], "hash": "0" * 32},
            "run_id": uuid_of(("run", self.asked.thread)),
            "thread_id": self.asked.thread,
            "tenant": "default",
            "step": self.step,
            "remaining_steps": self.stop - self.step,
            "recursion_limit": self.asked.limit,
            "checkpoint_id": uuid_of(self.checkpoint.id),
            "checkpoint_ns": f"{ns}|{name}:{task_id}" if ns else f"{name}:{task_id}",
            "path": {"push": {"index": task.path[1], "argument": task.input}} if task.push else "pull",
            "triggers": task.triggers,
            "input": given,
            "context": self.asked.context,
            "configurable": {},
            "metadata": {},
            "tags": [],
            "answers": task.answers.posted()[answers_from:] if task.answers else [],
        }
        if kind == "decision":
            ask["path"] = "pull"
            if extra:
                ask["extra"] = extra
        if failure:
            ask["failure"] = failure
        if self.threads.calls.store:
            ask["store"] = self.threads.calls.store
        return ask

    def _used(self, answer: dict[str, Any], posted: list[Any]) -> int:
        return int(answer.get("answers_used", len(posted)))

    def _questions(self, answer: dict[str, Any], task: Task) -> tuple[Question, ...]:
        assert task.answers is not None
        answered = len(task.answers.own)
        return tuple(
            Question((task.answers.ns, answered + index), one["value"], one.get("response_schema"))
            for index, one in enumerate(answer["interrupts"])
        )

    @staticmethod
    def _error(error: dict[str, Any]) -> RunError:
        made = RunError(error.get("type") or "Error", error["message"])
        made.retryable = error.get("retryable", False)  # type: ignore[attr-defined]
        return made


def _updates(answer: dict[str, Any]) -> list[tuple[str, Any]]:
    update = answer.get("update") or []
    return [write for one in (update if isinstance(update, list) else [update]) for write in one.items()]


def _destinations(answer: dict[str, Any]) -> list[Any]:
    return [Send(one["node"], one["input"]) if isinstance(one, dict) else one for one in answer.get("goto", ())]


def _way(destination: Any) -> tuple[str, Any]:
    if isinstance(destination, Send):
        return (TASKS, destination)
    return (f"branch:to:{destination}", None) if destination != END else (NO_WRITES, None)


def uuid_of(parts: Any) -> str:
    return str(uuid.UUID(bytes=hashlib.md5(repr(parts).encode(), usedforsecurity=False).digest()))
