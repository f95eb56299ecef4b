"""Map and reduce with Send: one task for each subject, one judge for all."""

import operator
from typing import Annotated

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from typing_extensions import TypedDict


class State(TypedDict):
    topic: str
    subjects: list[str]
    jokes: Annotated[list[str], operator.add]
    best: str


class JokeState(TypedDict):
    subject: str


def plan(state: State):
    return {"subjects": [f"{state['topic']} {kind}" for kind in ("cats", "dogs", "parrots")]}


def joke(state: JokeState):
    return {"jokes": [f"Why do {state['subject']} cross the road?"]}


def judge(state: State):
    return {"best": max(state["jokes"], key=len)}


def each_subject(state: State):
    return [Send("joke", {"subject": subject}) for subject in state["subjects"]]


builder = StateGraph(State)
builder.add_node("plan", plan)
builder.add_node("joke", joke)
builder.add_node("judge", judge)
builder.add_edge(START, "plan")
builder.add_conditional_edges("plan", each_subject, ["joke"])
builder.add_edge("joke", "judge")
builder.add_edge("judge", END)
graph = builder.compile()
