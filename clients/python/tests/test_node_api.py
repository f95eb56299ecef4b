"""The Node API, held to recorded pairs of what is posted and what is answered, and both to the published schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from recorded_nodes import app
from serving import serving

HERE = Path(__file__).parent
PAIRS = {path.stem: json.loads(path.read_text()) for path in sorted((HERE / "recorded").glob("*.json"))}
SCHEMAS = HERE.parents[2] / "schemas" / "json"
NDJSON = {"accept": "application/x-ndjson, application/json"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(app) as url:
        yield url


def fits(name: str, value: Any) -> None:
    schema = json.loads((SCHEMAS / f"{name}.v1.schema.json").read_text())
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_posted_is_answered_as_recorded(name: str, url: str) -> None:
    pair = PAIRS[name]
    response = httpx.post(url + pair["post"], json=pair["ask"], headers=NDJSON)
    *lines, answer = [json.loads(line) for line in response.text.splitlines()]
    if name == "unknown-node":
        answer["error"]["message"] = answer["error"]["message"].split("are: ")[0] + "are: "
    assert (response.status_code, lines, answer) == (pair["status"], pair["lines"], pair["answer"])
    streamed = response.headers["content-type"].startswith("application/x-ndjson")
    assert streamed == bool(lines), "lines only where something is shown"


@pytest.mark.parametrize("name", PAIRS)
def test_recorded_pairs_fit_the_published_schemas(name: str) -> None:
    pair = PAIRS[name]
    reduces = pair["post"].startswith("/reducers")
    if pair["status"] == 200:
        fits("reduce-ask" if reduces else "node-ask", pair["ask"])
    fits("reduce-answer" if reduces else "node-answer", pair["answer"])
    for line in pair["lines"]:
        fits("node-line", line)


@pytest.mark.parametrize("pair", [PAIRS["tokens"]], ids=["tokens"])
def test_without_lines_asked_for_the_answer_is_plain(pair: dict[str, Any], url: str) -> None:
    response = httpx.post(url + pair["post"], json=pair["ask"], headers={"accept": "application/json"})
    assert response.json() == pair["answer"]
    assert response.headers["content-type"] == "application/json"


def test_fields_of_a_later_version_are_left_out(url: str) -> None:
    pair = PAIRS["update"]
    ask = {**pair["ask"], "of_a_later_version": {"any": "thing"}}
    assert httpx.post(url + pair["post"], json=ask).json() == pair["answer"]


def test_what_is_no_ask_is_refused(url: str) -> None:
    for body, says in ((b"{", "no JSON"), (b"[]", "no JSON object"), (b'{"node": "x"}', "no 'task_id'")):
        response = httpx.post(f"{url}/nodes/quiet", content=body)
        assert response.status_code == 400
        assert says in response.json()["error"]["message"]


def test_a_service_says_what_it_has(url: str) -> None:
    said = httpx.get(url).json()
    assert said["version"] == 1
    assert "/nodes/summarize" in said["nodes"]
    assert said["decisions"] == ["/decisions/after_agent", "/decisions/ask_where", "/decisions/by_hint"]
    assert httpx.get(f"{url}/health").json() == {"ok": True}
