"""Channels of a graph file. Values are JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Missing:
    """Nothing has been written."""

    def __deepcopy__(self, memo: Any) -> Missing:
        return self


MISSING: Any = Missing()


class RunError(Exception):
    """What ends a run: a type, as LangGraph names it, and a sentence."""

    def __init__(self, type: str, message: str) -> None:
        super().__init__(f"{type}: {message}")
        self.type = type
        self.message = message


def invalid_update(message: str) -> RunError:
    return RunError("InvalidUpdateError", message)


class Overwrite:
    """A write that replaces what a reducer has gathered."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Overwrite) and self.value == other.value

    @staticmethod
    def read(value: Any) -> Any:
        if isinstance(value, dict) and value.keys() == {"__overwrite__"}:
            return Overwrite(value["__overwrite__"])
        return value


ROLES = {"user": "human", "assistant": "ai"}


def as_message(message: Any) -> dict[str, Any]:
    if isinstance(message, list) and len(message) == 2:
        message = {"role": message[0], "content": message[1]}
    if isinstance(message, str):
        message = {"role": "user", "content": message}
    message = dict(message)
    if "role" in message and "type" not in message:
        role = message.pop("role")
        message["type"] = ROLES.get(role, role)
    message.setdefault("id", None)
    return message


_made = 0


def with_id(message: dict[str, Any]) -> dict[str, Any]:
    """The real server derives ids from tasks; here they count."""
    global _made
    if message["id"] is None:
        _made += 1
        message["id"] = f"made-{_made}"
    return message


def add_messages(left: Any, right: Any) -> list[dict[str, Any]]:
    left = left if isinstance(left, list) else [left]
    right = right if isinstance(right, list) else [right]
    left = [with_id(as_message(one)) for one in left]
    right = [with_id(as_message(one)) for one in right]
    for index in range(len(right) - 1, -1, -1):
        if right[index]["type"] == "remove" and right[index]["id"] == "__remove_all__":
            return right[index + 1 :]
    merged = list(left)
    places = {message["id"]: index for index, message in enumerate(merged)}
    removed: set[str] = set()
    for message in right:
        if message["id"] in places:
            if message["type"] == "remove":
                removed.add(message["id"])
            else:
                removed.discard(message["id"])
                merged[places[message["id"]]] = message
        elif message["type"] == "remove":
            raise RunError(
                "ValueError", f"Attempting to delete a message with an ID that doesn't exist ('{message['id']}')"
            )
        else:
            places[message["id"]] = len(merged)
            merged.append(message)
    return [message for message in merged if message["id"] not in removed]


Joined = Callable[[Any, list[Any]], Any]


def folded(reduce: Callable[[Any, Any], Any]) -> Joined:
    def join(left: Any, writes: list[Any]) -> Any:
        for write in writes:
            left = reduce(left, write)
        return left

    return join


REDUCERS: dict[str, tuple[Joined, Any]] = {
    "sum": (folded(lambda a, b: a + b), 0),
    "append": (folded(lambda a, b: a + b), []),
    "max": (folded(max), MISSING),
    "min": (folded(min), MISSING),
    "merge": (folded(lambda a, b: {**a, **b}), {}),
    "messages": (folded(add_messages), []),
}


class Channel:
    """One value. ``finish`` and ``consume`` are those of joins and of deferred nodes."""

    value: Any = MISSING
    stored = True

    def __init__(self, key: str) -> None:
        self.key = key

    def copy(self) -> Channel:
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def available(self) -> bool:
        return self.value is not MISSING

    def update(self, values: list[Any]) -> bool:
        raise NotImplementedError

    def consume(self) -> bool:
        return False

    def finish(self) -> bool:
        return False

    def checkpoint(self) -> Any:
        return self.value if self.stored else MISSING

    def load(self, saved: Any) -> None:
        if saved is not MISSING:
            self.value = saved

    def clear(self) -> bool:
        there = self.value is not MISSING
        self.value = MISSING
        return there


class Last(Channel):
    def update(self, values: list[Any]) -> bool:
        if not values:
            return False
        if len(values) != 1:
            raise invalid_update(f"At key '{self.key}': Can receive only one value per step.")
        self.value = values[-1]
        return True


class Untracked(Last):
    stored = False


class AnyOf(Channel):
    def update(self, values: list[Any]) -> bool:
        if not values:
            return self.clear()
        self.value = values[-1]
        return True


class Ephemeral(Channel):
    guard = True

    def update(self, values: list[Any]) -> bool:
        if not values:
            return self.clear()
        if self.guard and len(values) != 1:
            raise invalid_update(f"At key '{self.key}': EphemeralValue can receive only one value per step")
        self.value = values[-1]
        return True


class Trigger(Ephemeral):
    """`branch:to:<node>`."""

    guard = False


class Topic(Channel):
    def available(self) -> bool:
        return self.value is not MISSING and bool(self.value)

    def update(self, values: list[Any]) -> bool:
        fresh = [item for value in values for item in (value if isinstance(value, list) else [value])]
        changed = self.available() or bool(fresh)
        self.value = fresh or MISSING
        return changed


class Reduced(Channel):
    def __init__(self, key: str, join: Joined, start: Any) -> None:
        super().__init__(key)
        self.join = join
        self.value = start

    def update(self, values: list[Any]) -> bool:
        if not values:
            return False
        overwrites = [value for value in values if isinstance(value, Overwrite)]
        if len(overwrites) > 1:
            raise invalid_update("Can receive only one Overwrite value per super-step.")
        if overwrites:
            self.value = overwrites[0].value
            return True
        if self.value is MISSING:
            self.value, values = values[0], values[1:]
        if values:
            self.value = self.join(self.value, values)
        return True


class AfterFinish(Channel):
    """The trigger of a deferred node."""

    finished = False

    def available(self) -> bool:
        return self.value is not MISSING and self.finished

    def update(self, values: list[Any]) -> bool:
        if not values:
            return False
        self.finished = False
        self.value = values[-1]
        return True

    def consume(self) -> bool:
        if not self.finished:
            return False
        self.finished = False
        self.value = MISSING
        return True

    def finish(self) -> bool:
        if self.finished or self.value is MISSING:
            return False
        self.finished = True
        return True

    def checkpoint(self) -> Any:
        return MISSING if self.value is MISSING else (self.value, self.finished)

    def load(self, saved: Any) -> None:
        if saved is not MISSING:
            self.value, self.finished = saved


class Join(Channel):
    """A waiting edge."""

    def __init__(self, key: str, names: frozenset[str]) -> None:
        super().__init__(key)
        self.names = names
        self.value = frozenset()

    def available(self) -> bool:
        return bool(self.value == self.names)

    def update(self, values: list[Any]) -> bool:
        before = self.value
        self.value = before | set(values)
        return bool(self.value != before)

    def consume(self) -> bool:
        if self.value != self.names:
            return False
        self.value = frozenset()
        return True


class JoinAfterFinish(Join):
    finished = False

    def available(self) -> bool:
        return super().available() and self.finished

    def consume(self) -> bool:
        if not self.available():
            return False
        self.finished = False
        self.value = frozenset()
        return True

    def finish(self) -> bool:
        if self.finished or self.value != self.names:
            return False
        self.finished = True
        return True

    def checkpoint(self) -> Any:
        return (self.value, self.finished)

    def load(self, saved: Any) -> None:
        if saved is not MISSING:
            self.value, self.finished = saved


KINDS: dict[str, type[Channel]] = {
    "last": Last,
    "any": AnyOf,
    "ephemeral": Ephemeral,
    "untracked": Untracked,
    "topic": Topic,
}
