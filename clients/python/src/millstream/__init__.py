"""Nodes for Millstream in Python: plain functions here, a LangGraph graph as it is in `millstream.langgraph`."""

from millstream.answers import END, REMOVE_ALL, Command, Overwrite, Send, remove_message
from millstream.app import App
from millstream.store import Store, StoreError
from millstream.task import Failed, Task, current_task, get_store, get_stream_writer, interrupt
from millstream.wire import Call

__all__ = [
    "App",
    "Command",
    "Send",
    "Overwrite",
    "END",
    "remove_message",
    "REMOVE_ALL",
    "interrupt",
    "current_task",
    "Task",
    "get_stream_writer",
    "get_store",
    "Store",
    "StoreError",
    "Failed",
    "Call",
]
