"""What a client written for LangGraph Server does, with the published SDK: `langgraph_client.py URL`.

Each check prints its name when it has passed; an assertion that fails ends the program.
"""

import asyncio
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from langgraph_sdk import get_client

URL = sys.argv[1]
STEPS = """
version: 1
name: steps
state: {log: {type: array, items: string, reducer: append}, x: integer}
nodes:
  a: {kind: transform, update: {log: "['a']", x: "1"}}
  b: {kind: transform, update: {log: "['b']"}}
edges: [START -> a, a -> b, b -> END]
"""


def served(name: str, path: str, port: int) -> str:
    """A graph of which one node is a service of this program."""
    return f"""
version: 1
name: {name}
state: {{log: {{type: array, items: string, reducer: append}}}}
nodes:
  a: {{kind: transform, update: {{log: "['a']"}}}}
  ask: {{kind: http, url: "http://127.0.0.1:{port}{path}"}}
  b: {{kind: transform, update: {{log: "['b']"}}}}
edges: [START -> a, a -> ask, ask -> b, b -> END]
"""


def nested(name: str, memory: str, port: int) -> str:
    """A graph of which one node is a graph that asks."""
    return f"""
version: 1
name: {name}
state: {{log: {{type: array, items: string, reducer: append}}}}
nodes:
  a: {{kind: transform, update: {{log: "['a']"}}}}
  sub:
    kind: subgraph
    memory: {memory}
    graph:
      state: {{log: {{type: array, items: string, reducer: append}}}}
      nodes:
        i: {{kind: transform, update: {{log: "['i']"}}}}
        ask: {{kind: http, url: "http://127.0.0.1:{port}/ask"}}
      edges: [START -> i, i -> ask, ask -> END]
edges: [START -> a, a -> sub, sub -> END]
"""


def joined(name: str, port: int) -> str:
    """A graph whose log a program of this one joins, and of which one says what comes behind `a`."""
    url = f"http://127.0.0.1:{port}"
    return f"""
version: 1
name: {name}
state: {{log: {{type: array, items: string, default: [], reducer: {{http: {{url: "{url}/upper"}}}}}}}}
nodes:
  a: {{kind: transform, update: {{log: "['a']"}}}}
  b: {{kind: transform, update: {{log: "['b']"}}}}
  c: {{kind: transform, update: {{log: "['c']"}}}}
edges: [START -> a, {{from: a, decide: {{url: "{url}/next", to: [b, c]}}}}, b -> END, c -> END]
"""


class Node(BaseHTTPRequestHandler):
    """A node that asks, one that takes its time, and one that fails; a reducer and a decision."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/slow":
            time.sleep(20)
        answers = asked.get("answers") or []
        answer: dict = {"update": {"log": ["served"]}}
        if self.path == "/upper":
            answer = {"value": asked["left"] + [word.upper() for write in asked["writes"] for word in write]}
        elif self.path == "/next":
            answer = {"goto": ["c" if "TO C" in asked["input"]["log"] else "b"]}
        elif self.path == "/fail":
            answer = {"error": {"message": "boom in ask", "type": "ValueError", "retryable": False}}
        elif self.path == "/keep":
            name = {"namespace": ["kept", asked["run_id"]], "key": "log"}
            ops = [{"put": {**name, "value": {"log": asked["input"]["log"]}}}, {"get": name}]
            access = asked["store"]
            kept = httpx.post(access["url"], json={"ops": ops}, headers={"authorization": f"Bearer {access['token']}"})
            forged = httpx.post(access["url"], json={"ops": ops}, headers={"authorization": "Bearer none"})
            found = kept.json()["results"][1]["item"]["value"]["log"]
            answer = {"update": {"log": [f"kept {found}", f"{forged.status_code}"]}}
        elif self.path == "/ask" and not answers:
            answer = {"interrupts": [{"value": {"q": "ok?"}}]}
        elif self.path == "/ask":
            answer = {"update": {"log": [f"ask:{answers[0]}"]}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


async def gathered(stream) -> list:
    return [(part.event, part.data) async for part in stream]


async def modes(client) -> None:
    thread = await client.threads.create()
    assert (thread["status"], thread["metadata"]) == ("idle", {}), thread
    empty = await client.threads.get_state(thread["thread_id"])
    assert (empty["values"], empty["next"], empty["checkpoint"]) == ({}, [], None), empty
    given = {"log": ["in"]}
    told = await gathered(
        client.runs.stream(thread["thread_id"], "steps", input=given, stream_mode=["values", "updates", "tasks"])
    )
    names = [name for name, _ in told]
    step = ["tasks", "updates", "tasks", "values"]
    assert names == ["metadata", "values", *step, *step], told
    assert told[1][1] == given
    assert told[3][1] == {"a": {"log": ["a"], "x": 1}}, told[3]
    assert told[5][1] == {"log": ["in", "a"], "x": 1}
    start, end = told[2][1], told[4][1]
    assert (start["name"], start["input"], start["triggers"]) == ("a", given, ["branch:to:a"]), start
    assert (end["id"], end["error"], end["result"], end["interrupts"]) == (
        start["id"],
        None,
        {"log": ["a"], "x": 1},
        [],
    )
    told = await gathered(client.runs.stream(thread["thread_id"], "steps", input=given, stream_mode="checkpoints"))
    assert [data["metadata"]["step"] for name, data in told if name == "checkpoints"] == [3, 4, 5, 6], told
    assert [data["next"] for name, data in told if name == "checkpoints"] == [["__start__"], ["a"], ["b"], []]
    told = await gathered(client.runs.stream(thread["thread_id"], "steps", input=given, stream_mode="debug"))
    kinds = [data["type"] for name, data in told if name == "debug"]
    assert kinds == ["checkpoint", "checkpoint", "task", "task_result", "checkpoint", "task", "task_result", "checkpoint"]
    default = await gathered(client.runs.stream(thread["thread_id"], "steps", input=given))
    assert {name for name, _ in default} == {"metadata", "values"}
    alone = await gathered(client.runs.stream(None, "steps", input=given, stream_mode=["values", "checkpoints"]))
    assert [name for name, _ in alone] == ["metadata", "values", "values", "values"], "no thread, no checkpoints"


async def messages(client) -> None:
    thread = (await client.threads.create())["thread_id"]
    said = {"messages": [{"role": "user", "content": "hello there", "id": "u"}]}
    told = await gathered(client.runs.stream(thread, "chat", input=said, stream_mode=["messages-tuple", "values"]))
    chunks = [data for name, data in told if name == "messages"]
    text = "".join(chunk["content"] for chunk, _ in chunks)
    final = [data for name, data in told if name == "values"][-1]["messages"][-1]
    assert text and text == final["content"], (text, final)
    assert {chunk["id"] for chunk, _ in chunks} == {final["id"]}
    assert all(about["langgraph_node"] == "answer" for _, about in chunks)
    assert chunks[-1][0]["chunk_position"] == "last"
    told = await gathered(client.runs.stream(thread, "chat", input=said, stream_mode="messages"))
    assert [name for name, _ in told][:3] == ["metadata", "messages/metadata", "messages/partial"], told[:3]
    assert told[-1][0] == "messages/partial" and told[-1][1][0]["type"] == "ai"


async def breakpoints_history_edits_and_forks(client) -> None:
    thread = (await client.threads.create())["thread_id"]
    told = await gathered(
        client.runs.stream(
            thread, "steps", input={"log": ["in"]}, stream_mode=["updates", "values"], interrupt_before=["b"]
        )
    )
    assert told[-1] == ("updates", {"__interrupt__": []}), told
    assert (await client.threads.get(thread))["status"] == "interrupted"
    state = await client.threads.get_state(thread)
    assert (state["next"], state["values"]) == (["b"], {"log": ["in", "a"], "x": 1}), state
    assert (state["metadata"]["source"], state["metadata"]["step"]) == ("loop", 1)
    assert [task["name"] for task in state["tasks"]] == ["b"]
    assert await client.runs.wait(thread, "steps", input=None) == {"log": ["in", "a", "b"], "x": 1}
    assert (await client.threads.get(thread))["status"] == "idle"

    history = await client.threads.get_history(thread, limit=10)
    assert [one["metadata"]["step"] for one in history] == [2, 1, 0, -1]
    assert [one["next"] for one in history] == [[], ["b"], ["a"], ["__start__"]]
    assert [task["result"] for one in history for task in one["tasks"]] == [
        {"log": ["b"]},
        {"log": ["a"], "x": 1},
        {"log": ["in"]},
    ]
    assert [one["parent_checkpoint"] for one in history[:-1]] == [one["checkpoint"] for one in history[1:]]
    inputs = await client.threads.get_history(thread, metadata={"source": "input"})
    assert [one["metadata"]["step"] for one in inputs] == [-1]
    before = await client.threads.get_history(thread, before=history[1]["checkpoint"], limit=1)
    assert [one["metadata"]["step"] for one in before] == [0]

    at = history[1]["checkpoint_id"]
    there = await client.threads.get_state(thread, checkpoint_id=at)
    assert (there["next"], there["checkpoint_id"]) == (["b"], at)
    same = await client.threads.get_state(thread, checkpoint=history[1]["checkpoint"])
    assert same["checkpoint_id"] == at

    made = await client.threads.update_state(thread, {"log": ["edit"]}, as_node="a")
    state = await client.threads.get_state(thread)
    assert state["checkpoint_id"] == made["checkpoint"]["checkpoint_id"]
    assert (state["next"], state["metadata"]["source"]) == (["b"], "update"), state
    assert state["values"]["log"] == ["in", "a", "b", "edit"]
    assert (await client.threads.get(thread))["status"] == "interrupted"
    ran = await client.runs.wait(thread, "steps", input=None)
    assert ran["log"] == ["in", "a", "b", "edit", "b"]
    assert len([run for run in await client.runs.list(thread)]) == 3, "an edit is no run"

    forked = await client.runs.wait(thread, "steps", input=None, checkpoint_id=at)
    assert forked["log"] == ["in", "a", "b"], forked
    sources = [one["metadata"]["source"] for one in await client.threads.get_history(thread, limit=10)]
    assert sources[:2] == ["loop", "fork"], sources
    edited = await client.threads.update_state(thread, {"log": ["past"]}, as_node="a", checkpoint_id=at)
    state = await client.threads.get_state(thread)
    assert state["checkpoint_id"] == edited["checkpoint"]["checkpoint_id"]
    assert state["values"]["log"] == ["in", "a", "past"]
    went = await client.runs.wait(thread, "steps", command={"goto": "b", "update": {"x": 9}})
    assert (went["log"], went["x"]) == (["in", "a", "past", "b"], 9), went


async def joins_and_comes_back(client) -> None:
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread, "steps", input={"log": ["in"]}, stream_resumable=True)
    assert (await client.runs.join(thread, run["run_id"]))["log"] == ["in", "a", "b"]
    assert (await client.runs.get(thread, run["run_id"]))["status"] == "success"
    whole = []
    async for part in client.runs.join_stream(thread, run["run_id"], stream_mode="values", last_event_id="-1"):
        whole.append(part)
    assert [part.event for part in whole] == ["metadata", "values", "values", "values"], whole
    assert all(part.id for part in whole), whole
    for cut in range(1, len(whole)):
        rest = []
        async for part in client.runs.join_stream(
            thread, run["run_id"], stream_mode="values", last_event_id=whole[cut - 1].id
        ):
            rest.append((part.event, part.data))
        expect = [(part.event, part.data) for part in whole[cut:] if part.id != whole[cut - 1].id]
        assert rest == expect, (cut, rest, expect)
    assert await gathered(client.runs.join_stream(thread, run["run_id"])) == [], "nothing comes any more"


async def asks_and_is_answered(client) -> None:
    thread = (await client.threads.create())["thread_id"]
    told = await gathered(
        client.runs.stream(thread, "asker", input={"log": ["in"]}, stream_mode=["updates", "values", "tasks"])
    )
    (_, update), (_, values), (_, end) = told[-3:]
    (question,) = update["__interrupt__"]
    assert question["value"] == {"q": "ok?"} and len(question["id"]) == 32, question
    assert values == {"log": ["in", "a"], "__interrupt__": [question]}
    assert (end["name"], end["result"], end["interrupts"]) == ("ask", {}, [question])
    shown = await client.threads.get(thread)
    assert shown["status"] == "interrupted"
    ((asked,),) = shown["interrupts"].values()
    assert (asked["id"], asked["value"]) == (question["id"], question["value"])
    state = await client.threads.get_state(thread)
    assert state["next"] == ["ask"] and state["interrupts"][0]["id"] == question["id"]
    assert state["tasks"][0]["interrupts"][0]["id"] == question["id"]
    answered = await client.runs.wait(thread, "asker", command={"resume": "yes"})
    assert answered["log"] == ["in", "a", "ask:yes", "b"], answered
    history = await client.threads.get_history(thread, limit=10)
    asks = next(one for one in history if one["next"] == ["ask"])
    assert asks["tasks"][0]["interrupts"][0]["id"] == question["id"], "what was asked stays in the past"
    assert asks["tasks"][0]["result"] == {"log": ["ask:yes"]}
    waited = await client.runs.wait(thread, "asker", input={"log": ["again"]})
    (open_question,) = waited["__interrupt__"]
    by_id = await client.runs.wait(thread, "asker", command={"resume": {open_question["id"]: "no"}})
    assert by_id["log"][-2:] == ["ask:no", "b"]


async def fails_as_langgraph_does(client) -> None:
    thread = (await client.threads.create())["thread_id"]
    told = await gathered(client.runs.stream(thread, "failing", input={"log": ["in"]}))
    assert told[-1] == ("error", {"error": "ValueError", "message": "boom in ask"}), told
    shown = await client.threads.get(thread)
    assert (shown["status"], shown["error"]["error"]) == ("error", "ValueError"), shown
    state = await client.threads.get_state(thread)
    assert (state["next"], state["tasks"][0]["error"]) == (["ask"], "ValueError('boom in ask')"), state


async def cancels_and_refuses(client) -> None:
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread, "slow", input={"log": ["in"]})
    try:
        await client.runs.create(thread, "slow", input={}, multitask_strategy="reject")
        raise AssertionError("the thread is busy")
    except Exception as refused:
        assert "409" in str(refused) or "already running" in str(refused), refused
    try:
        await client.threads.update_state(thread, {"log": ["x"]})
        raise AssertionError("a busy thread is not edited")
    except Exception as refused:
        assert "in-flight" in str(refused) or "409" in str(refused), refused
    instead = await client.runs.wait(thread, "steps", input={"log": ["over"]}, multitask_strategy="interrupt")
    assert instead["log"] == ["in", "a", "over", "a", "b"], instead
    assert (await client.runs.get(thread, run["run_id"]))["status"] == "interrupted", "it gave way, and what it did stays"
    run = await client.runs.create(thread, "slow", input={"log": ["in"]})
    await client.runs.cancel(thread, run["run_id"], wait=True)
    assert (await client.runs.get(thread, run["run_id"]))["status"] == "interrupted"
    assert (await client.threads.get(thread))["status"] == "interrupted"

    left = (await client.threads.create())["thread_id"]
    stream = client.runs.stream(left, "slow", input={"log": ["in"]}, on_disconnect="cancel")
    async for part in stream:
        if part.event == "values" and part.data["log"] == ["in", "a"]:
            break
    await stream.aclose()
    for _ in range(100):
        (run,) = await client.runs.list(left)
        if run["status"] == "interrupted":
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the run of a client that left goes on: {run}")


async def forgets_threads(client) -> None:
    thread = (await client.threads.create(metadata={"owner": "ann"}))["thread_id"]
    run = await client.runs.create(thread, "steps", input={"log": ["in"]})
    await client.runs.join(thread, run["run_id"])
    await client.threads.update_state(thread, {"log": ["edit"]}, as_node="a")
    busy = await client.runs.create(thread, "slow", input={"log": ["more"]})
    await client.threads.delete(thread)
    for gone in [
        client.threads.get(thread),
        client.threads.get_state(thread),
        client.threads.get_history(thread),
        client.runs.list(thread),
        client.runs.get(thread, run["run_id"]),
        client.runs.get(thread, busy["run_id"]),
        client.threads.delete(thread),
    ]:
        await refused(gone, 404)
    assert thread not in [found["thread_id"] for found in await client.threads.search(limit=1000)]
    anew = await client.runs.wait(thread, "steps", input={"log": ["anew"]}, if_not_exists="create")
    assert anew["log"] == ["anew", "a", "b"], anew
    assert len(await client.runs.list(thread)) == 1
    assert (await client.threads.get(thread))["metadata"].get("owner") is None
    made = (await client.threads.create())["thread_id"]
    await client.threads.delete(made)
    await refused(client.threads.get(made), 404)


async def copies_threads(client) -> None:
    thread = (await client.threads.create(metadata={"owner": "ann"}))["thread_id"]
    await client.runs.wait(thread, "asker", input={"log": ["x" * 50_000]})
    await client.runs.wait(thread, "asker", command={"resume": "first"})
    await client.runs.wait(thread, "asker", input={"log": ["again"]})

    async def look(of: str) -> list:
        shown = await client.threads.get(of)
        for field in ["created_at", "updated_at", "state_updated_at"]:
            shown.pop(field)
        seen = [shown, await client.threads.get_state(of), await client.threads.get_history(of, limit=20)]
        return json.loads(json.dumps(seen).replace(of, "the thread"))

    before = await look(thread)
    assert before[0]["status"] == "interrupted" and before[0]["metadata"]["owner"] == "ann", before[0]
    copy = (await client.threads.copy(thread))["thread_id"]
    assert copy != thread
    assert await look(copy) == before
    assert await look(thread) == before
    assert await client.runs.list(copy) == []

    # Each is answered by itself, and goes back by itself.
    answered = await client.runs.wait(copy, "asker", command={"resume": "copied"})
    assert answered["log"][-3:] == ["a", "ask:copied", "b"], answered["log"][-3:]
    assert await look(thread) == before
    begun = next(one for one in before[2] if one["values"].get("log", [])[1:] == [] and one["next"] == ["a"])
    back = await client.runs.wait(copy, "asker", input=None, checkpoint_id=begun["checkpoint_id"])
    assert back["log"][1:] == ["a"] and back["__interrupt__"], back["log"][1:]
    assert (await client.runs.wait(thread, "asker", command={"resume": "own"}))["log"][-2:] == ["ask:own", "b"]
    busy = await client.runs.create(thread, "slow", input={"log": ["busy"]})
    await refused(client.threads.copy(thread), 409)
    await client.runs.cancel(thread, busy["run_id"], wait=True)

    # What is deleted of one stays of the other.
    await client.threads.delete(thread)
    kept = await client.threads.get_history(copy, limit=20)
    assert json.loads(json.dumps(kept).replace(copy, "the thread"))[-len(before[2]):][1:] == before[2][1:]
    copied_again = (await client.threads.copy(copy))["thread_id"]
    assert (await client.threads.get_state(copied_again))["values"] == (await client.threads.get_state(copy))["values"]
    await client.threads.delete(copy)
    await refused(client.threads.get(copy), 404)
    done = await client.runs.wait(copied_again, "asker", command={"resume": "last"})
    assert done["log"][1:] == ["a", "ask:last", "b"], done["log"][1:]

    for graph in ["nested", "remembering"]:
        await copies_what_is_inside(client, graph)
    made = await client.threads.create(metadata={"owner": "bob"})
    assert (await client.threads.copy(made["thread_id"]))["metadata"] == made["metadata"]
    await refused(client.threads.copy("00000000-0000-4000-8000-000000000000"), 404)


async def copies_what_is_inside(client, graph: str) -> None:
    thread = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread, graph, input={"log": ["in"]})
    await client.runs.wait(thread, graph, command={"resume": "1"})
    await client.runs.wait(thread, graph, input={"log": ["again"]})

    async def look(of: str) -> list:
        state = await client.threads.get_state(of, subgraphs=True)
        inside = state["tasks"][0]["state"]["checkpoint"]["checkpoint_ns"]
        within = await client.threads.get_history(of, limit=20, checkpoint={"checkpoint_ns": inside})
        assert len(within) >= 3, within
        seen = [state, within, await client.threads.get_history(of, limit=20)]
        return json.loads(json.dumps(seen).replace(of, "the thread"))

    async def goes_on_and_back(of: str) -> list:
        on = await client.runs.wait(of, graph, command={"resume": "on"})
        await client.runs.wait(of, graph, input=None, checkpoint_id=begun)
        return [on, await client.runs.wait(of, graph, command={"resume": "past"})]

    before = await look(thread)
    begun = next(one for one in reversed(before[2]) if one["next"] == ["a"])["checkpoint_id"]
    copy = (await client.threads.copy(thread))["thread_id"]
    assert await look(copy) == before
    of_first = await goes_on_and_back(thread)
    await client.threads.delete(thread)
    assert await look(copy) == before
    assert await goes_on_and_back(copy) == of_first
    assert of_first[1]["log"][-2:] == ["i", "ask:past"], of_first


async def makes_a_thread_once(client) -> None:
    steps = [{"updates": [{"values": {"log": [text]}, "as_node": "a"}]} for text in ["one", "two"]]

    async def create(key: str, steps: list) -> dict:
        return await client.threads.create(graph_id="steps", supersteps=steps, headers={"Idempotency-Key": key})

    first = await create("once", steps)
    again = await create("once", steps)
    assert first["thread_id"] == again["thread_id"]
    history = await client.threads.get_history(first["thread_id"], limit=10)
    assert len(history) == 2 and history[0]["next"] == ["b"], history
    assert (await create("twice", steps))["thread_id"] != first["thread_id"]
    await refused(create("once", steps[:1]), 422)
    done = await client.runs.wait(first["thread_id"], "steps", input=None)
    assert done["log"] == ["one", "two", "b"], done


async def prunes_threads(client) -> None:
    threads = [(await client.threads.create())["thread_id"] for _ in range(3)]
    for thread in threads[1:]:
        await client.runs.wait(thread, "steps", input={"log": ["in"]})
    nobody = "00000000-0000-4000-8000-000000000000"
    assert await client.threads.prune([*threads[:2], nobody]) == {"pruned_count": 2}
    for thread in threads[:2]:
        await refused(client.threads.get(thread), 404)
    assert (await client.threads.get_state(threads[2]))["values"]["log"] == ["in", "a", "b"]
    for graph in ["asker", "nested", "remembering"]:
        await forgets_history(client, graph)
    busy = await client.runs.create(threads[2], "slow", input={"log": ["busy"]})
    await refused(client.threads.prune(threads[2:], strategy="keep_latest"), 409)
    await client.runs.cancel(threads[2], busy["run_id"], wait=True)
    made = (await client.threads.create())["thread_id"]
    assert await client.threads.prune([made, nobody], strategy="keep_latest") == {"pruned_count": 1}
    assert await client.threads.get_history(made) == []


async def tells_what_was_pruned(client) -> None:
    thread = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread, "steps", input={"log": ["in"]})

    async def edit(said: str) -> dict:
        headers = {"Idempotency-Key": f"an edit of {thread}"}
        return await client.threads.update_state(thread, {"log": [said]}, as_node="a", headers=headers)

    made = await edit("edit")
    await client.runs.wait(thread, "steps", input=None)
    state = await client.threads.get_state(thread)
    assert await client.threads.prune([thread], strategy="keep_latest") == {"pruned_count": 1}
    for _ in range(2):
        assert await edit("edit") == made, "what the first one was told"
    await refused(edit("another"), 422)
    assert await client.threads.get_state(thread) == state
    assert len(await client.threads.get_history(thread, limit=10)) == 1

    _, first = await client.runs.list(thread)
    run = first["run_id"]
    told = await refused(gathered(client.runs.join_stream(thread, run, last_event_id="-1")), 410)
    assert "pruned" in told, told
    assert await gathered(client.runs.join_stream(thread, run)) == [], "nothing comes any more"
    assert (await client.runs.join(thread, run))["log"] == ["in", "a", "b"], "what it answered is kept"


async def edits_wait_for_programs(client) -> None:
    """What LangGraph does with a function for the reducer and one for the edge, in its words."""
    thread = (await client.threads.create())["thread_id"]
    ran = await client.runs.wait(thread, "joined", input={"log": ["in"]})
    assert ran["log"] == ["IN", "A", "B"], ran
    past = await client.threads.get_history(thread, limit=10)

    async def edited(said: str, **at) -> tuple:
        made = await client.threads.update_state(thread, {"log": [said]}, as_node="a", **at)
        state = await client.threads.get_state(thread)
        assert state["checkpoint_id"] == made["checkpoint"]["checkpoint_id"], (state, made)
        return state["values"]["log"], state["next"], state["metadata"]["source"], state["metadata"]["step"]

    assert await edited("edit") == (["IN", "A", "B", "EDIT"], ["b"], "update", 3)
    assert await edited("to c") == (["IN", "A", "B", "EDIT", "TO C"], ["c"], "update", 4)
    ran = await client.runs.wait(thread, "joined", input=None)
    assert ran["log"] == ["IN", "A", "B", "EDIT", "TO C", "C"], ran
    at = next(one for one in past if one["next"] == ["b"])["checkpoint_id"]
    assert (await edited("to c", checkpoint_id=at))[:2] == (["IN", "A", "TO C"], ["c"])
    ran = await client.runs.wait(thread, "joined", input=None)
    assert ran["log"] == ["IN", "A", "TO C", "C"], ran
    about = [one["metadata"] for one in await client.threads.get_history(thread, limit=4)]
    assert [(one["source"], one["step"]) for one in about] == [("loop", 3), ("update", 2), ("loop", 5), ("update", 4)]


async def edits_inside_subgraphs(client) -> None:
    """As LangGraph does it with the same graphs, for both kinds of memory."""
    for graph in ["nested", "remembering"]:
        for as_node in ["i", None, "ask"]:
            await edits_inside(client, graph, as_node)


async def edits_inside(client, graph: str, as_node: str | None) -> None:
    thread = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread, graph, input={"log": ["in"]})

    async def stands() -> tuple:
        state = await client.threads.get_state(thread, subgraphs=True)
        (task,) = state["tasks"]
        inside = task["state"]
        asks = [len(task["interrupts"]), *(len(task["interrupts"]) for task in inside["tasks"])]
        return state["values"]["log"], state["next"], inside["values"]["log"], inside["next"], asks, inside["checkpoint"]

    *_, inside = await stands()
    at = {"checkpoint_ns": inside["checkpoint_ns"]}
    made = await client.threads.update_state(thread, {"log": ["edit"]}, as_node=as_node, checkpoint=at)
    *seen, now = await stands()
    is_next, open_questions = ([], [1]) if as_node == "ask" else (["ask"], [1, 0])
    assert seen == [["in", "a"], ["sub"], ["in", "a", "i", "edit"], is_next, open_questions], (graph, as_node, seen)
    assert now["checkpoint_id"] == made["checkpoint"]["checkpoint_id"], (now, made)
    within = await client.threads.get_state(thread, checkpoint=at)
    assert (within["metadata"]["source"], within["metadata"]["step"]) == ("update", 2), within
    assert len(await client.threads.get_history(thread, checkpoint=at, limit=10)) == 4

    ran = await client.runs.wait(thread, graph, input=None)
    if as_node != "ask":
        assert ran["log"] == ["in", "a"] and len(ran["__interrupt__"]) == 1, ran
        ran = await client.runs.wait(thread, graph, command={"resume": "yes"})
    answered = [] if as_node == "ask" else ["ask:yes"]
    assert ran == {"log": ["in", "a", "in", "a", "i", "edit", *answered]}, (graph, as_node, ran)
    state = await client.threads.get_state(thread)
    assert (state["values"], state["next"]) == (ran, []), state


async def forgets_history(client, graph: str) -> None:
    async def begun() -> str:
        thread = (await client.threads.create())["thread_id"]
        await client.runs.wait(thread, graph, input={"log": ["x" * 50_000]})
        await client.runs.wait(thread, graph, command={"resume": "first"})
        await client.runs.wait(thread, graph, input={"log": ["again"]})
        return thread

    async def look(of: str) -> list:
        return [
            await client.threads.get(of),
            await client.threads.get_state(of, subgraphs=True),
            [run["status"] for run in await client.runs.list(of)],
        ]

    async def history(of: str, **asked) -> list:
        return await client.threads.get_history(of, limit=50, **asked)

    async def says(doing, word: str) -> None:
        try:
            await doing
        except Exception as refused:
            said = getattr(refused, "response", None)
            assert word in str(refused) or (said is not None and word in said.text), refused
            return
        raise AssertionError(f"nobody said {word}")

    thread, other = await begun(), await begun()
    before, past = await look(thread), await history(thread)
    assert len(past) >= 6 and len(before[2]) == 3, (len(past), before[2])
    for _ in range(2 if graph == "asker" else 1):
        assert await client.threads.prune([thread], strategy="keep_latest") == {"pruned_count": 1}
        assert await look(thread) == before
        assert await history(thread) == past[:1]
    if graph != "asker":
        inside = before[1]["tasks"][0]["state"]["checkpoint"]["checkpoint_ns"]
        assert len(await history(thread, checkpoint={"checkpoint_ns": inside})) == 1
    for gone in [past[1]["checkpoint_id"], past[-1]["checkpoint_id"]]:
        await says(client.threads.get_state(thread, checkpoint_id=gone), "pruned")
        await says(client.threads.update_state(thread, {"log": ["x"]}, checkpoint_id=gone, as_node="a"), "pruned")
        await says(client.runs.wait(thread, graph, input=None, checkpoint_id=gone), "pruned")
    assert len(await history(thread)) == 1

    # It goes on as one whose history is whole, and so does its copy.
    copy = (await client.threads.copy(thread))["thread_id"]
    assert len(await history(copy)) == 1
    await says(client.runs.wait(copy, graph, input=None, checkpoint_id=past[-1]["checkpoint_id"]), "pruned")

    async def goes_on(of: str) -> list:
        seen = [await client.runs.wait(of, graph, command={"resume": "on"})]
        await client.runs.wait(of, graph, input={"log": ["more"]})
        seen.append(await client.runs.wait(of, graph, command={"resume": "and on"}))
        await client.threads.update_state(of, {"log": ["edit"]}, as_node="a")
        seen.append((await client.threads.get_state(of))["values"])
        return seen

    expected = await goes_on(other)
    assert await goes_on(thread) == expected
    assert await goes_on(copy) == expected
    # What it stood at has a successor now: a run may go back there, and no further.
    stood = past[0]["checkpoint_id"]
    assert (await history(thread))[-1]["checkpoint_id"] == stood
    await client.runs.wait(thread, graph, input=None, checkpoint_id=stood)
    for of in [thread, copy]:
        await client.threads.delete(of)
        await refused(client.threads.get(of), 404)


async def ends_threads(client) -> None:
    unused = await client.threads.create(ttl=0.02)
    assert "ttl" not in unused, unused
    asked = (await client.threads.create(ttl={"ttl": 60}))["thread_id"]
    stays = (await client.threads.create())["thread_id"]
    for thread in [asked, stays]:
        await client.runs.wait(thread, "asker", input={"log": ["in"]})
    shown = await client.threads.get(asked, include=["ttl"])
    assert shown["status"] == "interrupted" and shown["ttl"]["strategy"] == "delete", shown
    assert shown["ttl"]["ttl_minutes"] == 60 and shown["ttl"]["expires_at"] > shown["updated_at"], shown
    assert "ttl" not in await client.threads.get(stays, include=["ttl"])
    copy = (await client.threads.copy(asked))["thread_id"]
    await client.threads.update(asked, metadata={"owner": "ann"}, ttl=0.03)
    assert (await client.threads.get(asked, include=["ttl"]))["ttl"]["ttl_minutes"] == 0.03
    for thread in [unused["thread_id"], asked]:
        await gone(client, thread)
        await refused(client.threads.get_state(thread), 404)
    found = [found["thread_id"] for found in await client.threads.search(limit=1000)]
    assert asked not in found and stays in found and copy in found, found
    anew = await client.runs.wait(asked, "steps", input={"log": ["anew"]}, if_not_exists="create")
    assert anew["log"] == ["anew", "a", "b"], anew
    assert (await client.threads.get(asked))["metadata"].get("owner") is None
    await refused(client.threads.create(ttl=0), 422)
    await refused(client.threads.create(ttl={"ttl": 5, "strategy": "forget"}), 422)
    await keeps_its_latest(client)


async def keeps_its_latest(client) -> None:
    thread = (await client.threads.create(ttl={"ttl": 0.02, "strategy": "keep_latest"}))["thread_id"]
    for said in ["one", "two"]:
        await client.runs.wait(thread, "steps", input={"log": [said]})
        state = await client.threads.get_state(thread)
        for _ in range(200):
            history = await client.threads.get_history(thread, limit=20)
            if len(history) == 1:
                break
            await asyncio.sleep(0.1)
        assert [kept["checkpoint_id"] for kept in history] == [state["checkpoint_id"]], history
        assert (await client.threads.get_state(thread))["values"] == state["values"]
    assert state["values"]["log"] == ["one", "a", "b", "two", "a", "b"], state
    shown = await client.threads.get(thread, include=["ttl"])
    assert shown["ttl"]["strategy"] == "keep_latest", shown


async def gone(client, thread: str) -> None:
    for _ in range(200):
        try:
            await client.threads.get(thread)
        except Exception as error:
            answer = getattr(error, "response", error)
            assert answer.status_code == 404, error
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the time of {thread} is over, and it is there")


async def undoes_runs(client) -> None:
    thread = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread, "steps", input={"log": ["in"]})
    before = await client.threads.get_state(thread)
    past = await client.threads.get_history(thread, limit=10)
    run = await client.runs.create(thread, "slow", input={"log": ["undone"]})
    await until_seen(client, thread, "undone")
    instead = await client.runs.wait(thread, "steps", input={"log": ["over"]}, multitask_strategy="rollback")
    assert instead["log"] == ["in", "a", "b", "over", "a", "b"], instead
    await refused(client.runs.get(thread, run["run_id"]), 404)
    assert len(await client.runs.list(thread)) == 2
    history = await client.threads.get_history(thread, limit=10)
    assert [one["checkpoint_id"] for one in history[4:]] == [one["checkpoint_id"] for one in past]
    assert len(history) == 8, [one["values"] for one in history]

    thread = (await client.threads.create())["thread_id"]
    busy = await client.runs.create(thread, "slow", input={"log": ["busy"]})
    waits = [await client.runs.create(thread, "steps", input={"log": ["waits"]}, after_seconds=n) for n in [0, 3600]]
    alone = await client.runs.create(thread, "steps", input={"log": ["waits"]})
    await client.runs.cancel(thread, alone["run_id"], wait=True, action="rollback")
    await refused(client.runs.get(thread, alone["run_id"]), 404)
    instead = await client.runs.create(thread, "steps", input={"log": ["over"]}, multitask_strategy="rollback")
    assert (await client.runs.join(thread, instead["run_id"]))["log"] == ["over", "a", "b"]
    for gone in [busy, *waits]:
        await refused(client.runs.get(thread, gone["run_id"]), 404)
    assert [run["run_id"] for run in await client.runs.list(thread)] == [instead["run_id"]]

    thread = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread, "steps", input={"log": ["in"]})
    before = await client.threads.get_state(thread)
    run = await client.runs.create(thread, "slow", input={"log": ["undone"]})
    await until_seen(client, thread, "undone")
    await client.runs.cancel(thread, run["run_id"], wait=True, action="rollback")
    await refused(client.runs.get(thread, run["run_id"]), 404)
    after = await client.threads.get_state(thread)
    assert after == before, (after, before)
    assert (await client.threads.get(thread))["status"] == "idle"
    assert len(await client.threads.get_history(thread, limit=10)) == 4


async def keeps_only_the_last_checkpoint(client) -> None:
    thread = (await client.threads.create())["thread_id"]
    told = await gathered(
        client.runs.stream(thread, "steps", input={"log": ["in"]}, stream_mode=["updates", "values"], durability="exit")
    )
    assert [event for event, _ in told[1:]] == ["values", "updates", "values", "updates", "values"], told
    (only,) = await client.threads.get_history(thread, limit=10)
    assert (only["metadata"]["step"], only["parent_checkpoint"], only["next"]) == (2, None, []), only
    assert (await client.threads.get_state(thread))["values"] == {"log": ["in", "a", "b"], "x": 1}
    await client.runs.wait(thread, "steps", input={"log": ["more"]}, durability="exit", interrupt_before=["b"])
    history = await client.threads.get_history(thread, limit=10)
    assert [one["next"] for one in history] == [["b"], []], history
    assert history[0]["parent_checkpoint"] == history[1]["checkpoint"]
    await client.runs.wait(thread, "steps", input=None)
    assert len(await client.threads.get_history(thread, limit=10)) == 3

    thread = (await client.threads.create())["thread_id"]
    asked = await client.runs.wait(thread, "asker", input={"log": ["in"]}, durability="exit")
    (question,) = asked["__interrupt__"]
    (asks,) = await client.threads.get_history(thread, limit=10)
    assert asks["next"] == ["ask"] and asks["tasks"][0]["interrupts"][0]["id"] == question["id"], asks
    answered = await client.runs.wait(thread, "asker", command={"resume": "yes"}, checkpoint_during=False)
    assert answered["log"] == ["in", "a", "ask:yes", "b"], answered
    end, before = await client.threads.get_history(thread, limit=10)
    assert (end["next"], before) == ([], asks), "what is past stays as it was"

    thread = (await client.threads.create())["thread_id"]
    slow = {"input": {"log": ["in"]}, "stream_mode": "updates", "durability": "exit", "on_disconnect": "continue"}
    run_id = ""
    async for part in client.runs.stream(thread, "slow", **slow):
        if part.event == "metadata":
            run_id = part.data["run_id"]
        elif part.event == "updates":
            assert part.data == {"a": {"log": ["a"]}}, part
            break
    assert await client.threads.get_history(thread, limit=10) == [], "nothing shows before the end"
    assert (await client.threads.get_state(thread))["values"] == {}
    await client.runs.cancel(thread, run_id, wait=True)
    (cut,) = await client.threads.get_history(thread, limit=10)
    assert (cut["next"], cut["values"]["log"]) == (["ask"], ["in", "a"]), cut


async def begins_later(client) -> None:
    thread = (await client.threads.create())["thread_id"]
    later = await client.runs.create(thread, "steps", input={"log": ["later"]}, after_seconds=2)
    assert later["status"] == "pending", later
    assert (await client.runs.get(thread, later["run_id"]))["status"] == "pending"
    assert (await client.threads.get(thread))["status"] == "busy"
    await refused(client.runs.create(thread, "steps", input={}, multitask_strategy="reject"), 409)
    now = await client.runs.wait(thread, "steps", input={"log": ["now"]})
    assert now["log"] == ["now", "a", "b"], "who comes later and has no delay begins at once"
    (pending,) = await client.runs.list(thread, status="pending")
    assert pending["run_id"] == later["run_id"]
    assert (await client.runs.join(thread, later["run_id"]))["log"] == ["now", "a", "b", "later", "a", "b"]
    alone = await client.runs.wait(None, "steps", input={"log": ["alone"]}, after_seconds=1)
    assert alone["log"] == ["alone", "a", "b"], alone

    never = await client.runs.create(thread, "steps", input={"log": ["never"]}, after_seconds=3600)
    await client.runs.cancel(thread, never["run_id"], wait=True)
    assert (await client.runs.get(thread, never["run_id"]))["status"] == "interrupted"
    given_up = await client.runs.create(thread, "steps", input={"log": ["never"]}, after_seconds=3600)
    over = await client.runs.wait(thread, "steps", input={"log": ["over"]}, multitask_strategy="interrupt")
    assert over["log"][-3:] == ["over", "a", "b"], over
    assert (await client.runs.get(thread, given_up["run_id"]))["status"] == "interrupted"


async def until_seen(client, thread: str, word: str) -> None:
    for _ in range(100):
        if word in ((await client.threads.get_state(thread))["values"] or {}).get("log", []):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{word} is never seen")


async def refused(call, status: int) -> str:
    try:
        answer = await call
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == status, error
        return error.response.text
    except Exception as error:
        found = getattr(error, "status_code", None)
        assert found == status, error
        return str(error)
    raise AssertionError(f"not refused: {answer}")


async def keeps_and_finds_items(client) -> None:
    store = client.store
    ada = ["users", "ada", "memories"]
    for n in range(12):
        await store.put_item(ada, f"m{n}", {"n": n, "about": {"topic": "tea" if n % 2 else "code"}}, index=False)
    await store.put_item(["users", "bob", "memories"], "m0", {"n": 0.5})
    item = await store.get_item(ada, "m3")
    assert (item["namespace"], item["key"], item["value"]) == (ada, "m3", {"n": 3, "about": {"topic": "tea"}}), item
    await store.put_item(ada, "m3", {"n": 33})
    again = await store.get_item(ada, "m3")
    assert (again["value"], again["created_at"]) == ({"n": 33}, item["created_at"]), again
    assert again["updated_at"] > item["updated_at"]
    assert await store.get_item(ada, "nothing") is None

    async def found(prefix, **asked) -> list:
        return [item["key"] for item in (await store.search_items(prefix, **asked))["items"]]

    assert await found(["users"]) == [f"m{n}" for n in range(10)], "ten unless told, in the order they were made"
    assert await found(["users"], limit=5, offset=10) == ["m10", "m11", "m0"]
    assert await found(["users"], filter={"n": {"$gt": 8, "$lte": 10}}) == ["m9", "m10"]
    assert await found(ada, filter={"about": {"topic": "tea"}, "n": {"$ne": 1}}, limit=2) == ["m5", "m7"]
    assert await found(["users"], query="what does she drink?", limit=1) == ["m0"], "nothing is found by meaning"
    assert await found(["user"]) == []
    told = await refused(store.search_items(["users"], filter={"n": {"$in": [1]}}), 422)
    assert "Unsupported operator" in told, told

    await store.put_item(["docs"], "d", {})
    assert (await store.list_namespaces())["namespaces"] == [["docs"], ada, ["users", "bob", "memories"]]
    assert (await store.list_namespaces(prefix=["users"], max_depth=1))["namespaces"] == [["users"]]
    assert (await store.list_namespaces(prefix=["*", "bob"]))["namespaces"] == [["users", "bob", "memories"]]
    assert (await store.list_namespaces(suffix=["memories"], limit=1, offset=1))["namespaces"] == [["users", "bob", "memories"]]
    await store.delete_item(["docs"], "d")
    await store.delete_item(["docs"], "d")
    assert (await store.list_namespaces(suffix=["docs"]))["namespaces"] == []

    for key in ["read", "left"]:
        await store.put_item(["soon"], key, {}, ttl=0.05)
    for _ in range(4):
        await asyncio.sleep(1)
        assert await store.get_item(["soon"], "read") is not None, "who is read lives on"
    assert await store.get_item(["soon"], "left", refresh_ttl=False) is None
    assert await found(["soon"], refresh_ttl=False) == ["read"]


async def finds_by_meaning(client) -> None:
    store, facts = client.store, ["facts"]
    await store.put_item(facts, "pets", {"text": "Ada has a cat and two dogs"})
    await store.put_item(facts, "food", {"text": "Bob likes apple pie"})
    await store.put_item(facts, "hidden", {"text": "which cat and dogs"}, index=False)
    await store.put_item(facts, "titled", {"title": "dogs"}, index=["title"])
    found = (await store.search_items(facts, query="which cat and dogs?"))["items"]
    assert [item["key"] for item in found] == ["pets", "titled", "food", "hidden"], found
    assert [round(item["score"], 3) for item in found[:2]] == [0.567, 0.5] and found[3]["score"] is None, found
    (near,) = (await store.search_items(facts, query="pie", limit=1))["items"]
    assert near["key"] == "food", near


async def nodes_reach_the_store(client) -> None:
    thread = (await client.threads.create())["thread_id"]
    values = await client.runs.wait(thread, "keeper", input={"log": []})
    assert values["log"] == ["a", "kept ['a']", "401", "b"], values
    (run,) = await client.runs.list(thread)
    item = await client.store.get_item(["kept", run["run_id"]], "log")
    assert item["value"] == {"log": ["a"]}, item


async def main() -> None:
    service = ThreadingHTTPServer(("127.0.0.1", 0), Node)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    port = service.server_port
    graphs = {
        "steps": STEPS,
        "asker": served("asker", "/ask", port),
        "failing": served("failing", "/fail", port),
        "slow": served("slow", "/slow", port),
        "keeper": served("keeper", "/keep", port),
        "nested": nested("nested", "call", port),
        "remembering": nested("remembering", "thread", port),
        "joined": joined("joined", port),
    }
    async with httpx.AsyncClient(base_url=URL, timeout=60) as http:
        for name, file in graphs.items():
            put = await http.put(f"/graphs/{name}", content=file)
            assert put.status_code == 200, put.text
    client = get_client(url=URL)
    for check in [
        modes,
        messages,
        breakpoints_history_edits_and_forks,
        joins_and_comes_back,
        asks_and_is_answered,
        fails_as_langgraph_does,
        cancels_and_refuses,
        forgets_threads,
        copies_threads,
        makes_a_thread_once,
        prunes_threads,
        tells_what_was_pruned,
        edits_wait_for_programs,
        edits_inside_subgraphs,
        ends_threads,
        undoes_runs,
        keeps_only_the_last_checkpoint,
        begins_later,
        keeps_and_finds_items,
        finds_by_meaning,
        nodes_reach_the_store,
    ]:
        await check(client)
        print(check.__name__, flush=True)


asyncio.run(main())
