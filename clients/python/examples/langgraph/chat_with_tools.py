"""A chat with tools, as LangGraph's tutorials have it: `millstream-py export ./chat_with_tools.py:graph`."""

from typing import Annotated

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, tools_condition
from scripted import ScriptedModel
from typing_extensions import TypedDict


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


@tool
def find_order(number: int) -> str:
    """Finds an order."""
    return f"order {number} is on its way"


model = ScriptedModel(
    script=[
        AIMessage(
            content="",
            tool_calls=[
                {"name": "find_order", "args": {"number": 7}, "id": "c1"},
                {"name": "find_order", "args": {"number": 8}, "id": "c2"},
            ],
        ),
        AIMessage(
            content="Both are on their way.",
            usage_metadata={"input_tokens": 20, "output_tokens": 5, "total_tokens": 25},
        ),
    ]
)


def chatbot(state: State):
    return {"messages": [model.invoke(state["messages"])]}


builder = StateGraph(State)
builder.add_node("chatbot", chatbot)
builder.add_node("tools", ToolNode([find_order]))
builder.add_edge(START, "chatbot")
builder.add_conditional_edges("chatbot", tools_condition)
builder.add_edge("tools", "chatbot")
graph = builder.compile()
