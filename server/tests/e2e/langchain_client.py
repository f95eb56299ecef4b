"""What a program written for LangChain does with its client of OpenAI's API: `langchain_client.py URL`.

Each check prints its name when it has passed; an assertion that fails ends the program.
"""

import asyncio
import sys

import httpx
import openai
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

URL = sys.argv[1]
ONCE = """
version: 1
name: once
state: {messages: {type: messages}}
nodes:
  say: {kind: model, model: default, messages: state.messages, retry: {max_attempts: 1}}
edges: [START -> say, say -> END]
"""
HELLO = [SystemMessage("Be kind."), HumanMessage("Hello there")]
SAID = "You said: Hello there"


def model(graph: str = "chat", **settings) -> ChatOpenAI:
    return ChatOpenAI(model=graph, base_url=f"{URL}/v1", api_key="none", max_retries=0, **settings)


def answers() -> None:
    said = model(temperature=0.5).invoke(HELLO)
    assert isinstance(said, AIMessage) and said.content == SAID, said
    used = said.usage_metadata
    assert used["input_tokens"] > 0 and used["total_tokens"] == used["input_tokens"] + used["output_tokens"], used
    told = said.response_metadata
    assert (told["finish_reason"], told["model_name"]) == ("stop", "chat"), told
    assert told["id"].startswith("chatcmpl-"), told


def streams() -> None:
    for asked in (False, True):
        chunks = list(model(stream_usage=asked).stream([HumanMessage("Hello there {{interval=50}}")]))
        assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks) and len(chunks) > 3, ("at once", chunks)
        whole = sum(chunks[1:], chunks[0])
        assert whole.content == SAID and whole.response_metadata["finish_reason"] == "stop", whole
        assert whole.chunk_position == "last", whole
        assert (whole.usage_metadata is not None) == asked, whole
        if asked:
            assert whole.usage_metadata["output_tokens"] > 0, whole


def many_at_once() -> None:
    texts = [f"number {n}" for n in range(8)]
    expect = [f"You said: {text}" for text in texts]
    assert [said.content for said in model().batch(texts)] == expect

    async def one(client: ChatOpenAI, text: str) -> str:
        return "".join([chunk.content async for chunk in client.astream(text)])

    async def main() -> None:
        client = model()
        assert await asyncio.gather(*(one(client, text) for text in texts)) == expect
        assert [said.content for said in await client.abatch(texts)] == expect

    asyncio.run(main())


def stands_in_a_chain() -> None:
    chain = ChatPromptTemplate([("system", "Be kind."), ("human", "About {what}")]) | model()
    assert chain.invoke({"what": "birds"}).content == "You said: About birds"


def takes_a_conversation_with_tools() -> None:
    call = {"name": "f", "args": {"n": 1}, "id": "c", "type": "tool_call"}
    said = model().invoke(
        [
            HumanMessage("What is it?"),
            AIMessage("", tool_calls=[call]),
            ToolMessage("1", tool_call_id="c"),
            HumanMessage([{"type": "text", "text": "Say it"}]),
        ]
    )
    assert said.content == "You said: Say it", said


def says_that_it_was_cut() -> None:
    said = model(max_completion_tokens=2).invoke(HELLO)
    assert (said.content, said.response_metadata["finish_reason"]) == ("You said:", "length"), said


def refuses() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    schema = {"title": "x", "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    for asked, param in (
        (model().bind_tools([tool]), "tools"),
        (model().with_structured_output(schema, method="json_schema"), "response_format"),
        (model("nope"), "model"),
    ):
        try:
            asked.invoke(HELLO)
            raise AssertionError(param)
        except (openai.BadRequestError, openai.NotFoundError) as error:
            assert error.param == param and error.code in ("invalid_value", "model_not_found"), error


def fails_in_words() -> None:
    broken = [HumanMessage("a b c d {{truncate=2}}")]
    try:
        model("once").invoke(broken)
        raise AssertionError("it has no end")
    except openai.InternalServerError as error:
        assert error.code == "node_failed", error
    said = ""
    try:
        for chunk in model("once").stream(broken):
            said += chunk.content
        raise AssertionError(said)
    except openai.APIError as error:
        assert error.code == "node_failed" and said == "You said: ", (error, said)


put = httpx.put(f"{URL}/graphs/once", content=ONCE)
assert put.status_code == 200, put.text
for check in [
    answers,
    streams,
    many_at_once,
    stands_in_a_chain,
    takes_a_conversation_with_tools,
    says_that_it_was_cut,
    refuses,
    fails_in_words,
]:
    check()
    print(check.__name__, flush=True)
