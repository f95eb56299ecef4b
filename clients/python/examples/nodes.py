"""Plain functions as nodes. Serve them with `python nodes.py`, and run `millstream dev nodes.yaml`."""

from collections.abc import Iterator
from typing import Any

from millstream import App, Command, Send, Task, get_store, interrupt

app = App("nodes")


@app.node
def plan(state: dict[str, Any]) -> Command:
    """An update and where to go: a task for each subject."""
    subjects = [f"{state['topic']} {kind}" for kind in ("cats", "dogs")]
    return Command(update={"subjects": subjects}, goto=[Send("joke", {"subject": subject}) for subject in subjects])


@app.node
def joke(send: dict[str, Any]) -> Iterator[Any]:
    """Text is shown as it comes; the update is last."""
    text = f"Why do {send['subject']} cross the road?"
    for word in text.split():
        yield f"{word} "
    yield {"jokes": [text]}


@app.node
async def approve(state: dict[str, Any], task: Task) -> dict[str, Any]:
    """Asks a person. The node runs again from the top when the answer is there."""
    best = max(state["jokes"], key=len)
    if not interrupt({"publish": best}, response_schema={"type": "boolean"}):
        return {"best": None}
    if task.ask.store is not None:
        # Written twice it is the same: a task may be asked for more than once.
        await get_store().aput(("published",), task.id, {"joke": best})
    return {"best": best}


if __name__ == "__main__":
    app.serve()
