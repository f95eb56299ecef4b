"""Finds the compiled graph that `module:graph` names."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel


class NoGraph(ValueError):
    """What was named is no graph that nodes can be taken from."""


def load(target: str) -> CompiledStateGraph[Any, Any, Any, Any]:
    """``package.module:name`` or, as in langgraph.json, ``./file.py:name``."""
    where, _, name = target.rpartition(":")
    if not where or not name:
        raise NoGraph(f"{target!r} names no graph: write module:graph, such as agent.main:graph or ./agent.py:graph")
    module = _module(where)
    value: Any = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            there = [key for key, one in vars(module).items() if isinstance(one, (Pregel, StateGraph))]
            hint = f"; it has {', '.join(there)}" if there else ""
            raise NoGraph(f"{where} has no {part!r}{hint}") from None
    return compiled(value, target)


def compiled(value: Any, what: str) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The graph, where it is one that has nodes and edges to tell."""
    if isinstance(value, CompiledStateGraph):
        return value
    if isinstance(value, StateGraph):
        return value.compile()
    if isinstance(value, Pregel):
        raise NoGraph(
            f"{what} is a graph of LangGraph's functional API (@entrypoint) or a Pregel of your own: it has no nodes "
            "and edges to export. Serve its function as one node: see `millstream.App`"
        )
    if callable(value):
        raise NoGraph(
            f"{what} is a function: name the compiled graph that it makes, by `graph = {what.rpartition(':')[2]}()`"
        )
    raise NoGraph(f"{what} is a {type(value).__name__} and no compiled graph")


def _module(where: str) -> ModuleType:
    # As python -m does: modules beside where one stands are found.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if not where.endswith(".py"):
        try:
            return importlib.import_module(where)
        except ModuleNotFoundError as missing:
            if missing.name and where.startswith(missing.name):
                raise NoGraph(f"there is no module {where!r} here") from None
            raise
    path = os.path.abspath(where)
    if not os.path.exists(path):
        raise NoGraph(f"there is no file {where}")
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Annotations of its classes are looked up there.
    sys.modules[name] = module
    sys.path.insert(0, os.path.dirname(path))
    spec.loader.exec_module(module)
    return module
