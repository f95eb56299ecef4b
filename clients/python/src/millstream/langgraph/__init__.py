"""A compiled LangGraph graph on Millstream: its graph file, and its functions served as they are."""

from millstream.langgraph.export import Export, export
from millstream.langgraph.load import NoGraph, load
from millstream.langgraph.serve import service_of

__all__ = ["load", "NoGraph", "export", "Export", "service_of"]
