"""Calls to services, as the worker makes them."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jsonschema

from reference.channels import RunError

ACCEPT = "application/x-ndjson, text/event-stream, application/json"


@dataclass
class Told:
    """What services showed before their answers, and what their models used."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)


SCHEMAS = Path(__file__).parents[4] / "schemas" / "json"


@functools.cache
def schema(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{name}.v1.schema.json").read_text()))


class Calls:
    def __init__(self, *, check: bool = False, store: dict[str, str] | None = None) -> None:
        self.client = httpx.Client(timeout=60)
        #: Hold what is said to the published schemas.
        self.check = check
        #: What asks say of the long-term store.
        self.store = store
        self.told = Told()
        self.made = 0

    def post(self, call: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        """The answer; what came before it is kept in ``told``."""
        self.made += 1
        headers = {"accept": ACCEPT, "idempotency-key": body.get("idempotency_key", ""), **call.get("headers", {})}
        # By way of text, as over any wire.
        response = self.client.post(call["url"], content=json.dumps(body), headers=headers)
        if not response.is_success:
            raise RunError("HttpError", f"{call['url']} answered {response.status_code}: {response.text}")
        lines = [json.loads(line) for line in response.text.splitlines()]
        if self.check:
            kind = "reduce" if body["kind"] == "reduce" else "node"
            schema(f"{kind}-ask").validate(body)
            schema(f"{kind}-answer").validate(lines[-1])
            for line in lines[:-1]:
                schema("node-line").validate(line)
        self.told.lines.extend(lines[:-1])
        answer: dict[str, Any] = lines[-1]
        self.told.calls.extend(answer.get("calls", ()))
        return answer

    def reduce(self, call: dict[str, Any], channel: str, left: Any, writes: list[Any]) -> Any:
        body = {
            "version": 1,
            "kind": "reduce",
            "graph": {"name": "g", "hash": "0"},
            "run_id": "019aa6b8-2c00-7a31-9d4f-5b0c7e2a0003",
            "tenant": "default",
            "channel": channel,
            "left": left,
            "writes": writes,
        }
        answer = self.post(call, body)
        if "error" in answer:
            raise RunError(answer["error"].get("type") or "Error", answer["error"]["message"])
        return answer["value"]
