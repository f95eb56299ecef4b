"""One form for what a call did, in LangGraph and through a Server, so that the two can be compared."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, Overwrite, Send

from reference.channels import RunError
from reference.fold import INTERRUPT
from reference.server import Came, Server, Snapshot

logging.getLogger("langgraph").setLevel(logging.ERROR)

ROLES = {"user": "human", "assistant": "ai"}


def plain(value: Any) -> Any:
    if isinstance(value, BaseMessage):
        return {"type": value.type, "content": value.content, "id": value.id}
    if isinstance(value, Overwrite):
        return {"overwrite": plain(value.value)}
    if hasattr(value, "value") and type(value).__name__ == "Overwrite":
        return {"overwrite": plain(value.value)}
    if isinstance(value, Send):
        return {"send": value.node, "arg": plain(value.arg)}
    if type(value).__name__ == "Interrupt":
        return {"interrupt": plain(value.value)}
    if isinstance(value, dict):
        if "role" in value and "content" in value:
            return {"type": ROLES[value["role"]], "content": value["content"], "id": value["id"]}
        if "type" in value and "content" in value and "id" in value:
            return {key: value[key] for key in ("type", "content", "id")}
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


class InLangGraph:
    """The module's graph, run by the library."""

    def __init__(self, module: Any) -> None:
        self.app = module.make(InMemorySaver())

    def call(self, call: dict[str, Any], *, durability: Any) -> dict[str, Any]:
        config: dict[str, Any] = {
            "configurable": {"thread_id": "t"},
            "recursion_limit": call.get("recursion_limit", 12),
        }
        if "at" in call:
            kept = self._history()
            config["configurable"] |= kept[call["at"] % len(kept)].config["configurable"]
        events: list[tuple[str, list[str], Any]] = []
        error = None
        try:
            if call["call"] == "update_state":
                self.app.update_state(config, call["values"], as_node=call.get("as_node"))
            else:
                for ns, mode, chunk in self.app.stream(
                    self._input(call, config),
                    config,
                    stream_mode=["updates", "values"],
                    subgraphs=True,
                    durability=durability,
                ):
                    events.append((mode, [part.split(":")[0] for part in ns], plain(chunk)))
        except Exception as raised:
            error = type(raised).__name__
        return observed(error, events, self._state, self._histories)

    def _input(self, call: dict[str, Any], config: Any) -> Any:
        if call["call"] == "invoke":
            return call["input"]
        if call["call"] == "continue":
            return None
        given = {name: call[name] for name in ("update", "goto") if call.get(name)}
        if call["call"] == "resume":
            given["resume"] = call["value"]
            if call.get("by_id"):
                asked = self.app.get_state(config).interrupts
                given["resume"] = {one.id: answer for one, answer in zip(asked, call["by_id"], strict=False)}
        return Command(**given)

    def _history(self) -> list[Any]:
        return list(reversed(list(self.app.get_state_history({"configurable": {"thread_id": "t"}}))))

    def _state(self) -> dict[str, Any]:
        return self._snapshot(self.app.get_state({"configurable": {"thread_id": "t"}}))

    def _histories(self) -> list[dict[str, Any]]:
        return [self._snapshot(one) for one in self._history()]

    @staticmethod
    def _snapshot(one: Any) -> dict[str, Any]:
        def asked(interrupts: Any) -> list[Any]:
            return sorted((plain(question.value) for question in interrupts), key=key)

        metadata = one.metadata or {}
        return {
            "values": plain(one.values),
            "next": list(one.next),
            "tasks": [
                {"name": task.name, "error": task.error is not None, "interrupts": asked(task.interrupts)}
                for task in one.tasks
            ],
            "interrupts": asked(one.interrupts),
            "step": metadata.get("step"),
            "source": metadata.get("source"),
        }


class Served:
    """The module's graph, exported, its functions served and called over HTTP."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def call(self, call: dict[str, Any]) -> dict[str, Any]:
        if call["call"] == "update_state":
            came = self.server.update_state(call["values"], as_node=call.get("as_node"), checkpoint=call.get("at"))
        else:
            try:
                came = self._run(call)
            except RunError as error:  # The state can't be read for the questions in it.
                came = Came(error=(error.type, error.message))
        events = [(kind, names, plain(value)) for kind, names, value in came.events]
        error = came.error[0] if came.error else None
        return observed(
            error,
            events,
            lambda: self._snapshot(self.server.state()),
            lambda: [self._snapshot(one) for one in self.server.history()],
        )

    def _run(self, call: dict[str, Any]) -> Came:
        options = {"recursion_limit": call.get("recursion_limit", 12), "checkpoint": call.get("at")}
        if call["call"] == "invoke":
            return self.server.run(input=call["input"], **options)
        if call["call"] == "continue":
            return self.server.run(**options)
        command = {name: call[name] for name in ("update", "goto") if call.get(name)}
        if isinstance(command.get("goto"), str):
            command["goto"] = [command["goto"]]
        if call["call"] == "resume":
            if call.get("by_id"):
                asked = self.server.state().interrupts
                command["answers"] = {one.id: answer for one, answer in zip(asked, call["by_id"], strict=False)}
            else:
                command["resume"] = call["value"]
        return self.server.run(command=command, **options)

    @staticmethod
    def _snapshot(one: Snapshot) -> dict[str, Any]:
        return {
            "values": plain(one.values),
            "next": one.next,
            "tasks": [{**task, "interrupts": sorted(plain(task["interrupts"]), key=key)} for task in one.tasks],
            "interrupts": sorted((plain(question.value) for question in one.interrupts), key=key),
            "step": one.step,
            "source": one.source,
        }


def observed(
    error: str | None,
    events: list[tuple[str, list[str], Any]],
    state: Callable[[], dict[str, Any]],
    history: Callable[[], list[dict[str, Any]]],
) -> dict[str, Any]:
    found: dict[str, Any] = {"error": error, "steps": relaxed(steps_of(events, error), error)}
    try:
        found["state"] = state()
        found["history"] = history()
    except Exception as raised:
        # LangGraph's get_state raises where stored writes conflict.
        found.pop("state", None)
        found["state_error"] = bool(raised)
    return found


def steps_of(events: list[tuple[str, list[str], Any]], error: str | None) -> list[dict[str, Any]]:
    """One entry for each `values` of the root, with the updates since the last. Questions of parallel tasks are one."""
    steps: list[dict[str, Any]] = []
    updates: list[Any] = []
    for kind, names, value in events:
        if kind == "updates":
            updates.append({**value, "in": names})
        elif not names:
            asks = INTERRUPT in value
            values = {name: one for name, one in value.items() if name != INTERRUPT}
            if asks and steps and steps[-1]["asks"]:
                steps[-1]["updates"] += updates
                steps[-1]["values"] = values
            else:
                steps.append({"updates": updates, "values": values, "asks": asks})
            updates = []
    # Which siblings of a failed task were still shown is a race.
    if updates and not error:
        if steps and steps[-1]["asks"] and all(INTERRUPT in one for one in updates):
            steps[-1]["updates"] += updates
        else:
            steps.append({"updates": updates, "values": None, "asks": False})
    return [{"updates": sorted(map(key, one["updates"])), "values": one["values"]} for one in steps]


def relaxed(steps: list[dict[str, Any]], error: str | None) -> list[dict[str, Any]]:
    """In a step that asks, the order of siblings' updates against the question is a race in LangGraph."""
    for index, step in enumerate(steps):
        if any('__interrupt__": [{' in one and '"in": []' in one for one in step["updates"]):
            if error:
                return steps[:index]
            kept = steps[: index + 1]
            for later in steps[index + 1 :]:
                asks = any('__interrupt__": [{' in one and '"in": []' in one for one in later["updates"])
                step["updates"] += later["updates"]
                later["updates"] = []
                if not asks:
                    kept.append(later)
            step["updates"].sort()
            return [one for one in kept if one["values"] is not None]
    return steps
