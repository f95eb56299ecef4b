"""What a program written for OpenAI's API does, with the published package: `openai_client.py URL`.

Each check prints its name when it has passed; an assertion that fails ends the program.
"""

import asyncio
import sys
import uuid

import httpx
import openai

URL = sys.argv[1]
TWICE = """
version: 1
name: twice
state: {messages: {type: messages}}
nodes:
  say: {kind: model, model: default, system: Be brief., messages: state.messages, retry: {max_attempts: 1}}
edges: [START -> say, say -> END]
"""
ASKING = """
version: 1
name: asking
state: {messages: {type: messages}, yes: boolean}
nodes:
  ask: {kind: human, question: "May I?", answer: {yes: boolean}, update: {yes: answer.yes}}
edges: [START -> ask, ask -> END]
"""
SILENT = """
version: 1
name: silent
state: {topic: string}
nodes:
  a: {kind: transform, update: {topic: "'x'"}}
edges: [START -> a, a -> END]
"""
HELLO = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hello there"}]


def saying(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def lists_graphs_as_models(client: openai.OpenAI) -> None:
    models = list(client.models.list())
    assert [model.id for model in models] == ["asking", "chat", "twice"], models
    assert client.models.retrieve("chat").object == "model"
    for unknown in ("nope", "silent"):
        try:
            client.models.retrieve(unknown)
            raise AssertionError(unknown)
        except openai.NotFoundError as error:
            assert (error.code, error.param) == ("model_not_found", "model"), error


def answers(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=HELLO, temperature=0.5, store=True)
    assert raw.headers["x-request-id"] and raw.headers["content-location"].startswith("/graphs/chat/runs/")
    whole = raw.parse()
    (choice,) = whole.choices
    assert (whole.object, whole.model, choice.finish_reason) == ("chat.completion", "chat", "stop"), whole
    assert whole.id.startswith("chatcmpl-") and whole.created > 1_700_000_000, whole
    assert (choice.message.role, choice.message.content) == ("assistant", "You said: Hello there"), choice
    usage = whole.usage
    assert usage.prompt_tokens > 0 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage


def streams(client: openai.OpenAI) -> None:
    for asked in (False, True):
        options = {"stream_options": {"include_usage": True}} if asked else {}
        slowly = saying("Hello there {{interval=100}}")
        chunks = list(client.chat.completions.create(model="chat", messages=slowly, stream=True, **options))
        assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1, chunks
        if asked:
            last = chunks.pop()
            assert last.choices == [] and last.usage.completion_tokens > 0, last
        assert all(chunk.usage is None for chunk in chunks), chunks
        assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert said == "You said: Hello there" and len(chunks) > 3, ("it came at once", chunks)
        assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"], chunks


def accumulates(client: openai.OpenAI) -> None:
    """The package's own reader of streams, which is stricter than a loop over chunks."""
    with client.chat.completions.stream(model="chat", messages=HELLO) as stream:
        kinds = {event.type for event in stream}
        message = stream.get_final_completion().choices[0].message
    assert {"chunk", "content.delta", "content.done"} <= kinds, kinds
    assert message.content == "You said: Hello there", message


def many_at_once(client: openai.OpenAI) -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="none") as many:

            async def one(n: int) -> str:
                stream = await many.chat.completions.create(model="chat", messages=saying(f"number {n}"), stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            said = await asyncio.gather(*(one(n) for n in range(20)))
            assert said == [f"You said: number {n}" for n in range(20)], said

    asyncio.run(main())


def takes_a_conversation_with_tools(client: openai.OpenAI) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"n": 1}'}}
    messages = [
        *saying("What is it?"),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
        {"role": "user", "content": [{"type": "text", "text": "Say it"}]},
    ]
    assert client.chat.completions.create(model="chat", messages=messages).choices[0].message.content == "You said: Say it"


def says_that_it_was_cut(client: openai.OpenAI) -> None:
    cut = client.chat.completions.create(model="chat", messages=HELLO, max_completion_tokens=2)
    assert (cut.choices[0].finish_reason, cut.choices[0].message.content) == ("length", "You said:"), cut
    chunks = list(client.chat.completions.create(model="chat", messages=HELLO, max_tokens=2, stream=True))
    assert chunks[-1].choices[0].finish_reason == "length", chunks


def refuses(client: openai.OpenAI) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
    for param, value in (("n", 2), ("tools", tools), ("response_format", schema), ("logprobs", True)):
        try:
            client.chat.completions.create(model="chat", messages=HELLO, **{param: value})
            raise AssertionError(param)
        except openai.BadRequestError as error:
            assert (error.code, error.param) == ("invalid_value", param) and error.request_id, error
    for wrong in ([], [{"role": "boss", "content": "x"}]):
        try:
            client.chat.completions.create(model="chat", messages=wrong)
            raise AssertionError(wrong)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            assert error.param.startswith(("messages", "input.messages")), error


def fails_in_words(client: openai.OpenAI) -> None:
    broken = saying("a b c d {{truncate=2}}")
    try:
        client.chat.completions.create(model="twice", messages=broken)
        raise AssertionError("it has no end")
    except openai.InternalServerError as error:
        assert error.code == "node_failed" and error.response.headers["x-should-retry"] == "false", error
    said = ""
    try:
        for chunk in client.chat.completions.create(model="twice", messages=broken, stream=True):
            said += chunk.choices[0].delta.content or ""
        raise AssertionError(said)
    except openai.APIError as error:
        assert error.code == "node_failed" and said == "You said: ", (error, said)


def has_no_second_attempt(client: openai.OpenAI) -> None:
    """The graph tries again, and what was sent can't be taken back."""
    said = ""
    try:
        broken = saying("a b c d {{truncate=2}}")
        for chunk in client.chat.completions.create(model="chat", messages=broken, stream=True):
            said += chunk.choices[0].delta.content or ""
        raise AssertionError(said)
    except openai.APIError as error:
        assert error.code == "stream_cut" and said == "You said: ", (error, said)
        assert httpx.get(URL + error.message.split(" ")[-1]).json()["graph"] == "chat", error


def asks(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="asking", messages=HELLO)
    assert whole.choices[0].message.content == "May I?" and whole.interrupts[0]["value"] == "May I?", whole
    chunks = list(client.chat.completions.create(model="asking", messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "May I?", chunks
    assert chunks[-1].choices[0].finish_reason == "stop" and chunks[-1].interrupts, chunks


def keeps_a_conversation(client: openai.OpenAI) -> None:
    thread = str(uuid.uuid4())
    for text in ("one", "two"):
        said = client.chat.completions.create(model="chat", messages=saying(text), extra_body={"thread_id": thread})
        assert said.thread_id == thread, said
    messages = httpx.get(f"{URL}/threads/{thread}/state").json()["values"]["messages"]
    assert [message["content"] for message in messages] == ["one", "You said: one", "two", "You said: two"], messages


def repeats_nothing(client: openai.OpenAI) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first, again = (client.chat.completions.create(model="chat", messages=HELLO, extra_headers=key) for _ in range(2))
    assert first.id == again.id and first.choices == again.choices, (first, again)


for name, file in {"twice": TWICE, "asking": ASKING, "silent": SILENT}.items():
    put = httpx.put(f"{URL}/graphs/{name}", content=file)
    assert put.status_code == 200, put.text
for check in [
    lists_graphs_as_models,
    answers,
    streams,
    accumulates,
    many_at_once,
    takes_a_conversation_with_tools,
    says_that_it_was_cut,
    refuses,
    fails_in_words,
    has_no_second_attempt,
    asks,
    keeps_a_conversation,
    repeats_nothing,
]:
    check(openai.OpenAI(base_url=f"{URL}/v1", api_key="none"))
    print(check.__name__, flush=True)
