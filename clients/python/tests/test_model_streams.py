"""Who wrote the adapters is not the only witness: the vendors' own clients read the streams that Millstream's adapters
are tested with (`node-workers/tests/streams`), and report what stands beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving import serving

STREAMS = Path(__file__).parents[3] / "node-workers/tests/streams"

OPENAI = openai.OpenAI(api_key="key", max_retries=0)
ANTHROPIC = anthropic.Anthropic(api_key="key", max_retries=0)


#: What `sdk` says of a stream that the vendor's client should refuse, and doesn't.
TAKEN_FOR_WHOLE = "takes it for whole"


def recorded(dialect: str, sdk: str | None = None) -> list[Any]:
    """Those that the vendor's client reads the same: `sdk` says of the others what it does."""
    expected = ((path, json.loads(path.read_text())) for path in sorted((STREAMS / dialect).glob("*.json")))
    return [pytest.param(path.stem, expect, id=path.stem) for path, expect in expected if expect.get("sdk") == sdk]


async def stream(request: Request) -> Response:
    dialect, name = request.path_params["dialect"], request.path_params["name"]
    return Response((STREAMS / dialect / f"{name}.sse").read_bytes(), media_type="text/event-stream")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    paths = ["/{dialect}/{name}/v1/chat/completions", "/{dialect}/{name}/v1/messages"]
    with serving(Starlette(routes=[Route(path, stream, methods=["POST"]) for path in paths])) as url:
        yield url


def usage(**tokens: int | None) -> dict[str, int]:
    return {f"{name}_tokens": count for name, count in tokens.items() if count}


def expected_usage(expect: dict[str, Any]) -> dict[str, int] | None:
    return expect["usage"] and {name: count for name, count in expect["usage"].items() if count}


def openai_answer(url: str, name: str) -> dict[str, Any]:
    client = OPENAI.with_options(base_url=f"{url}/openai/{name}/v1")
    with client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "hi"}]) as events:
        answer = events.until_done().current_completion_snapshot
    choice = answer.choices[0]
    figures = answer.usage
    asked = figures and figures.prompt_tokens_details
    made = figures and figures.completion_tokens_details
    return {
        "text": (choice.message.content or "") + (choice.message.refusal or ""),
        "tool_calls": [
            {"id": call.id, "name": call.function.name, "arguments": json.loads(call.function.arguments)}
            for call in choice.message.tool_calls or []
        ],
        "vendor_stop_reason": choice.finish_reason,
        "usage": figures
        and usage(
            input=figures.prompt_tokens,
            output=figures.completion_tokens,
            cached=asked and asked.cached_tokens,
            cache_write=asked and asked.cache_write_tokens,
            reasoning=made and made.reasoning_tokens,
        ),
    }


def anthropic_answer(url: str, name: str) -> dict[str, Any]:
    client = ANTHROPIC.with_options(base_url=f"{url}/anthropic/{name}")
    with client.messages.stream(model="m", max_tokens=10, messages=[{"role": "user", "content": "hi"}]) as events:
        answer = events.get_final_message()
    figures = answer.usage
    read, written = figures.cache_read_input_tokens or 0, figures.cache_creation_input_tokens or 0
    return {
        "text": "".join(block.text for block in answer.content if block.type == "text"),
        "reasoning": "".join(block.thinking for block in answer.content if block.type == "thinking"),
        "tool_calls": [
            {"id": block.id, "name": block.name, "arguments": block.input}
            for block in answer.content
            if block.type == "tool_use"
        ],
        "vendor_stop_reason": answer.stop_reason,
        "usage": usage(
            input=figures.input_tokens + read + written,
            output=figures.output_tokens,
            cached=read,
            cache_write=written,
            reasoning=figures.output_tokens_details and figures.output_tokens_details.thinking_tokens,
        ),
    }


ANSWERS = {"openai": openai_answer, "anthropic": anthropic_answer}


def check(dialect: str, url: str, name: str, expect: dict[str, Any]) -> None:
    if "error" in expect:
        with pytest.raises(Exception) as raised:
            ANSWERS[dialect](url, name)
        assert expect["sdk_error"] in [kind.__name__ for kind in raised.type.__mro__]
        return
    answer = ANSWERS[dialect](url, name)
    assert answer == {field: expect[field] for field in answer} | {"usage": expected_usage(expect)}


@pytest.mark.parametrize(("name", "expect"), recorded("openai"))
def test_openai_reads_the_same(url: str, name: str, expect: dict[str, Any]) -> None:
    check("openai", url, name, expect)


@pytest.mark.parametrize(("name", "expect"), recorded("anthropic"))
def test_anthropic_reads_the_same(url: str, name: str, expect: dict[str, Any]) -> None:
    check("anthropic", url, name, expect)


@pytest.mark.parametrize(("name", "expect"), recorded("openai", TAKEN_FOR_WHOLE))
def test_openai_takes_a_cut_answer_for_whole(url: str, name: str, expect: dict[str, Any]) -> None:
    assert expect["error"] == "truncated"
    assert openai_answer(url, name)["text"] == expect["text"]


@pytest.mark.parametrize(("name", "expect"), recorded("anthropic", TAKEN_FOR_WHOLE))
def test_anthropic_takes_a_cut_answer_for_whole(url: str, name: str, expect: dict[str, Any]) -> None:
    assert expect["error"] == "truncated"
    assert anthropic_answer(url, name)["text"] == expect["text"]


def test_most_streams_are_read() -> None:
    """`sdk` is for what a vendor's client can't know, not for what it contradicts."""
    assert len(recorded("openai")) >= 20
    assert len(recorded("anthropic")) >= 18
