"""What a node's function may return, and the answer that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from millstream import wire

#: Where a run ends.
END = "END"
#: The id of a message that removes all others from a list of messages.
REMOVE_ALL = "__remove_all__"


@dataclass(frozen=True)
class Send:
    """A task for ``node`` in the next step, with an input of its own."""

    node: str
    input: Any

    def json(self) -> dict[str, Any]:
        return {"node": self.node, "input": plain(self.input)}


@dataclass(frozen=True)
class Overwrite:
    """Replaces what the channel's reducer has gathered."""

    value: Any

    def json(self) -> dict[str, Any]:
        return {"__overwrite__": plain(self.value)}


@dataclass(frozen=True)
class Command:
    """An update and where to go next, beside the node's edges."""

    update: Mapping[str, Any] | Sequence[tuple[str, Any]] | None = None
    goto: str | Send | Sequence[str | Send] = field(default_factory=tuple)
    #: ``parent``: for the graph that this one is a node of; this one is given up.
    graph: Literal["parent"] | None = None


def remove_message(id: str) -> dict[str, Any]:
    """Takes a message out of a channel of messages; REMOVE_ALL takes all that stand before it."""
    return {"type": "remove", "id": id, "content": ""}


def answer_of(returned: Any) -> wire.Answer:
    """None and {} write nothing; a dict is an update; a list may hold dicts, Commands and Sends, applied in order."""
    parts = returned if isinstance(returned, (list, tuple)) else [returned]
    writes: list[tuple[str, Any]] = []
    goto: list[str | Mapping[str, Any]] = []
    for part in parts:
        if isinstance(part, Command) and part.graph == "parent":
            # What is for the parent goes alone, as in LangGraph.
            return wire.Answer(wire.updates_of(_writes(part.update)), _targets(part.goto), to_parent=True)
        if isinstance(part, Command):
            writes += _writes(part.update)
            goto += _targets(part.goto)
        elif isinstance(part, Send):
            goto.append(part.json())
        else:
            writes += _writes(part)
    return wire.Answer(wire.updates_of(writes), goto)


def decision_of(returned: Any) -> wire.Answer:
    """A name, a Send, or a list of them; None and [] lead nowhere."""
    if returned is None:
        return wire.Answer()
    return wire.Answer(goto=_targets(returned))


def _writes(update: Any) -> list[tuple[str, Any]]:
    if update is None:
        return []
    if isinstance(update, Mapping):
        return [(str(key), plain(value)) for key, value in update.items()]
    if isinstance(update, (list, tuple)) and all(isinstance(one, tuple) and len(one) == 2 for one in update):
        return [(str(key), plain(value)) for key, value in update]
    raise TypeError(
        f"a node returns a dict, a Command, a Send, a list of these, or None, and not a {type(update).__name__}"
    )


def _targets(goto: Any) -> list[str | Mapping[str, Any]]:
    found: list[str | Mapping[str, Any]] = []
    for one in goto if isinstance(goto, (list, tuple)) else [goto]:
        if isinstance(one, Send):
            found.append(one.json())
        elif isinstance(one, str):
            if one != END:
                found.append(one)
        else:
            raise TypeError(f"where to go is a node's name or a Send, and not a {type(one).__name__}")
    return found


def plain(value: Any) -> Any:
    if isinstance(value, (Send, Overwrite)):
        return value.json()
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value
