"""A person approves: the run pauses at the question, for months if need be, and goes where the answer says."""

from typing import Literal

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict


class State(TypedDict):
    order: int
    amount: float
    reason: str
    outcome: str


def propose(state: State):
    return {"amount": 20.0, "reason": "arrived late"}


def approve(state: State) -> Command[Literal["refund", "refuse"]]:
    get_stream_writer()({"asking": state["order"]})
    answer = interrupt({"refund": state["amount"], "because": state["reason"]})
    if not answer["approved"]:
        why = interrupt("why not?")
        return Command(update={"reason": why}, goto="refuse")
    return Command(goto="refund")


def refund(state: State):
    return {"outcome": f"{state['amount']} paid back"}


def refuse(state: State):
    return {"outcome": f"refused: {state['reason']}"}


builder = StateGraph(State)
builder.add_node("propose", propose)
builder.add_node("approve", approve)
builder.add_node("refund", refund)
builder.add_node("refuse", refuse)
builder.add_edge(START, "propose")
builder.add_edge("propose", "approve")
builder.add_edge("refund", END)
builder.add_edge("refuse", END)
graph = builder.compile()
