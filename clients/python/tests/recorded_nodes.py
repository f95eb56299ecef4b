"""The nodes that the recorded pairs were posted to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from millstream import (
    REMOVE_ALL,
    App,
    Call,
    Command,
    Failed,
    Overwrite,
    Send,
    Task,
    current_task,
    get_stream_writer,
    interrupt,
    remove_message,
)

app = App("recorded")


@app.node
def summarize(state: dict[str, Any]) -> dict[str, Any]:
    return {"summary": state["text"].capitalize() + "!"}


@app.node
def quiet(state: dict[str, Any]) -> None:
    return None


@app.node
def twice(state: dict[str, Any]) -> list[Any]:
    return [{"log": ["a"]}, Command(update=[("log", ["b"]), ("n", 1)], goto="check")]


@app.node
async def route(state: dict[str, Any]) -> Command:
    await asyncio.sleep(0)
    return Command(update={"tries": 1}, goto=["check", Send("worker", {"item": state["item"]}), "END"])


@app.node
def fan_out(state: dict[str, Any]) -> list[Send]:
    return [Send("worker", {"item": item}) for item in state["items"]]


@app.node
def worker(item: dict[str, Any]) -> dict[str, Any]:
    return {"done": [item["item"]]}


@app.node
def give_up(state: dict[str, Any]) -> list[Any]:
    return [{"lost": True}, Command(update={"result": 7}, goto="next", graph="parent")]


@app.node
def reset(state: dict[str, Any]) -> dict[str, Any]:
    return {"log": Overwrite([]), "messages": [remove_message(REMOVE_ALL)]}


@app.node
def approve(state: dict[str, Any]) -> dict[str, Any]:
    try:
        if interrupt({"refund": 20}, response_schema={"type": "boolean"}):
            return {"approved": True}
        return {"approved": False, "why": interrupt("why not?")}
    except Exception:
        raise AssertionError("a question is no error that a node may catch") from None


@app.node
def fail(state: dict[str, Any]) -> None:
    match state["how"]:
        case "failed":
            raise Failed("no such order", type="OrderError")
        case "busy":
            raise Failed("busy", retryable=True, retry_after=1.5)
        case "lost":
            raise ConnectionError("gone")
    state["order"]


@app.node
def write(state: dict[str, Any], task: Task) -> Iterator[Any]:
    yield "Hel"
    get_stream_writer()({"progress": 0.5})
    task.token("lo", message_id="m1")
    task.used(Call("mine", "small", input_tokens=3, output_tokens=2))
    yield {"text": "Hello"}


@app.node
async def awrite(state: dict[str, Any]) -> AsyncIterator[Any]:
    yield "a"
    yield "b"
    yield {"text": "ab"}


@app.node
def wrong(state: dict[str, Any]) -> int:
    return 5


@app.node
def unspeakable(state: dict[str, Any]) -> dict[str, Any]:
    return {"x": 1j}


@app.node("on_error_pay")
def handle(state: dict[str, Any], task: Task) -> dict[str, Any]:
    failure = task.ask.failure
    assert failure is not None
    return {"log": [f"{failure.node}: {failure.type}: {failure.message}"]}


@app.node
def who(state: dict[str, Any]) -> dict[str, Any]:
    task = current_task()
    return {
        "seen": {
            "context": task.context,
            "attempt": task.attempt,
            "key": task.idempotency_key,
            "thread": task.thread_id,
            "left": task.remaining_steps,
        }
    }


@app.decision
def after_agent(state: dict[str, Any]) -> str:
    return "tools" if state["calls"] else "END"


@app.decision
def ask_where(state: dict[str, Any]) -> Any:
    return interrupt("left or right?")


@app.decision
def by_hint(state: dict[str, Any], task: Task) -> Send:
    assert task.ask.extra is not None
    return Send("worker", task.ask.extra["hint"])


@app.reducer
def longest(left: str, right: str) -> str:
    return right if len(right) > len(left) else left
