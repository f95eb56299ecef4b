"""The real server, one process for all tests, asked through the addresses that LangGraph's clients use."""

from __future__ import annotations

import atexit
import functools
import itertools
import json
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from typing import Any

import httpx
import yaml

from reference.calls import Told
from reference.fold import INTERRUPT, Question
from reference.server import Came, Snapshot

#: What the server's own codes are called in LangGraph.
CODES = {"recursion_limit": "GraphRecursionError", "invalid_update": "InvalidUpdateError"}
_graphs = itertools.count(1)


@functools.cache
def process(binary: str) -> str:
    """Starts it, and gives its address."""
    folder = tempfile.mkdtemp(prefix="millstream-")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    log = open(f"{folder}/log", "w")  # noqa: SIM115
    command = [binary, "dev", "--listen", listen, "--data-dir", f"{folder}/data"]
    started = subprocess.Popen(command, stderr=log, stdout=log)

    def stop() -> None:
        started.terminate()
        started.wait(30)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    for _ in range(600):
        try:
            if httpx.get(f"http://{listen}/ready").status_code == 200:
                return f"http://{listen}"
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{binary} doesn't serve; see {folder}/log")


class RealServer:
    """One graph, published under a name of its own, and one thread."""

    def __init__(self, binary: str, file: dict[str, Any]) -> None:
        self.name = f"{file['name']}-{next(_graphs)}"
        self.file = {**file, "name": self.name}
        self.thread = str(uuid.uuid4())
        self.http = httpx.Client(base_url=process(binary), timeout=60)
        published = self.http.put(f"/graphs/{self.name}", content=yaml.safe_dump(self.file, sort_keys=False))
        assert published.status_code == 200, published.text
        made = self.http.post("/threads", json={"thread_id": self.thread, "metadata": {"graph_id": self.name}})
        assert made.status_code == 200, made.text

    def run(
        self,
        *,
        input: dict[str, Any] | None = None,
        command: dict[str, Any] | None = None,
        context: Any = None,
        checkpoint: int | None = None,
        recursion_limit: int = 25,
    ) -> Came:
        asked: dict[str, Any] = {
            "assistant_id": self.name,
            "input": input,
            "stream_mode": ["updates", "values", "custom"],
            "stream_subgraphs": True,
            "config": {"recursion_limit": recursion_limit},
        }
        if command is not None:
            asked["command"] = _command(command)
        if context is not None:
            asked["context"] = context
        if (found := self._checkpoint(checkpoint)) is not None:
            asked["checkpoint_id"] = found
        came = Came(told=Told())
        with self.http.stream("POST", f"/threads/{self.thread}/runs/stream", json=asked) as response:
            if response.status_code != 200:
                response.read()
                came.error = ("Refused", response.text)
                return came
            for event, data in _events(response):
                self._take(came, event, data)
        return came

    def _take(self, came: Came, event: str, data: Any) -> None:
        kind, *ns = event.split("|")
        if kind == "error":
            came.error = (_kind(data), data.get("message", ""))
        elif kind == "custom":
            came.told.lines.append({"custom": data})
        elif kind in ("values", "updates"):
            if INTERRUPT in data:
                data = {**data, INTERRUPT: [{"interrupt": one["value"]} for one in data[INTERRUPT]]}
            came.events.append((kind, [part.split(":")[0] for part in ns], _overwrites(data)))
            if kind == "values" and not ns:
                output = self.file.get("output") or list(self.file["state"])
                came.values = {key: one for key, one in data.items() if key in output}

    def update_state(
        self, values: dict[str, Any] | None, *, as_node: str | None = None, checkpoint: int | None = None
    ) -> Came:
        asked: dict[str, Any] = {"values": values}
        if as_node is not None:
            asked["as_node"] = as_node
        if (found := self._checkpoint(checkpoint)) is not None:
            asked["checkpoint_id"] = found
        answer = self.http.post(f"/threads/{self.thread}/state", json=asked)
        return Came() if answer.status_code == 200 else Came(error=(_kind(answer.json()), answer.text))

    def state(self) -> Snapshot:
        return _snapshot(self._get("state"))

    def history(self) -> list[Snapshot]:
        """Oldest first."""
        return [_snapshot(one) for one in reversed(self._get("history?limit=1000"))]

    def _get(self, path: str) -> Any:
        answer = self.http.get(f"/threads/{self.thread}/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _checkpoint(self, index: int | None) -> str | None:
        if index is None:
            return None
        kept = list(reversed(self._get("history?limit=1000")))
        return kept[index % len(kept)]["checkpoint"]["checkpoint_id"] if kept else None


def _overwrites(value: Any) -> Any:
    """As the tests show them."""
    if isinstance(value, dict):
        if set(value) == {"__overwrite__"}:
            return {"overwrite": _overwrites(value["__overwrite__"])}
        return {key: _overwrites(one) for key, one in value.items()}
    return [_overwrites(one) for one in value] if isinstance(value, list) else value


def _command(command: dict[str, Any]) -> dict[str, Any]:
    """Answers by id are a mapping in LangGraph's ``resume``."""
    said = {name: one for name, one in command.items() if name != "answers"}
    return {**said, "resume": command["answers"]} if "answers" in command else said


def _events(response: httpx.Response) -> Any:
    event = ""
    for line in response.iter_lines():
        if line.startswith("event:"):
            event = line[6:].strip()
        elif line.startswith("data:") and event:
            data = line[5:].strip()
            yield event, json.loads(data) if data else None


def _kind(error: dict[str, Any]) -> str:
    error = error.get("error") if isinstance(error.get("error"), dict) else error
    said = error.get("type") or error.get("kind") or error.get("error") or error.get("code") or "Error"
    return CODES.get(said, said)


def _snapshot(one: dict[str, Any]) -> Snapshot:
    metadata = one.get("metadata") or {}
    tasks = [
        {
            "name": task["name"],
            "error": task.get("error") is not None,
            "interrupts": [asked["value"] for asked in task.get("interrupts") or ()],
        }
        for task in one["tasks"]
    ]
    asked = one.get("interrupts")
    if asked is None:
        asked = [question for task in one["tasks"] for question in task.get("interrupts") or ()]
    questions = [Question(one["id"], one["value"], one.get("response_schema")) for one in asked]
    return Snapshot(one["values"], one["next"], tasks, questions, metadata.get("step"), metadata.get("source"))
