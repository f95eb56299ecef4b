"""A case of the differential generator as Python: a module that a person could have written with LangGraph."""

from __future__ import annotations

from typing import Any

HEADER = '''"""Graph {id}, drawn by the differential generator."""

import json
import operator
import time
from typing import Annotated, Any

from langchain_core.messages import RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels import AnyValue, EphemeralValue, Topic, UntrackedValue
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Overwrite, RetryPolicy, Send, interrupt
from typing_extensions import TypedDict


class CaseError(Exception):
    pass


def merge(a, b):
    return {{**a, **b}}


def keep_max(a, b):
    return max(a, b)


executions = {{}}


def execution(config):
    ns = config["metadata"]["langgraph_checkpoint_ns"]
    executions[ns] = executions.get(ns, 0) + 1
    return executions[ns]


def text(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
'''

TYPES = {
    "last": "Any",
    "sum": "Annotated[int, operator.add]",
    "append": "Annotated[list, operator.add]",
    "max": "Annotated[int, keep_max]",
    "merge": "Annotated[dict, merge]",
    "messages": "Annotated[list, add_messages]",
    "any": "Annotated[Any, AnyValue]",
    "ephemeral": "Annotated[Any, EphemeralValue]",
    "untracked": "Annotated[Any, UntrackedValue]",
    "topic": "Annotated[list, Topic(str)]",
}
MEMORY = {"none": "False", "call": "None", "thread": "True"}


def module_of(case: dict[str, Any]) -> str:
    lines = [HEADER.format(id=case["id"])]
    _graph(lines, case["graph"], "", top=True)
    return "\n".join(lines) + "\n"


def _graph(lines: list[str], graph: dict[str, Any], prefix: str, *, top: bool, memory: str = "call") -> None:
    for name, spec in graph["nodes"].items():
        if "graph" in spec:
            _graph(lines, spec["graph"], f"{prefix}{name}_", top=False, memory=spec.get("memory", "call"))
    channels = graph["channels"]
    _schema(lines, f"{prefix}State", channels, channels)
    for field, what in (("input", "Input"), ("output", "Output")):
        if graph.get(field):
            _schema(lines, prefix + what, channels, graph[field])
    for name, spec in graph["nodes"].items():
        if "graph" not in spec:
            _node(lines, f"{prefix}{name}", spec["do"], channels)
            if spec.get("on_error"):
                _node(lines, f"{prefix}{name}_failed", spec["on_error"]["do"], channels)
    for index, branch in enumerate(graph.get("branches", ())):
        _branch(lines, f"{prefix}branch{index}", branch)
    _build(lines, graph, prefix, top=top, memory=memory)


def _schema(lines: list[str], name: str, channels: dict[str, str], keys: Any) -> None:
    lines += ["", "", f"class {name}(TypedDict, total=False):"]
    lines += [f"    {key}: {TYPES[channels[key]]}" for key in keys]


def _node(lines: list[str], name: str, program: list[dict[str, Any]], channels: dict[str, str]) -> None:
    lines += ["", "", f"def {name}(state, config: RunnableConfig):"]
    say = lines.append
    say("    n = execution(config)")
    say("    update = {}")
    goto, parent = None, False
    for act in program:
        if act["do"] == "write":
            value = (
                _messages(act["value"]) if channels.get(act["to"]) == "messages" else _expression(act["value"], "state")
            )
            say(f"    update[{act['to']!r}] = {f'Overwrite({value})' if act.get('overwrite') else value}")
        elif act["do"] == "interrupt":
            say(f"    {act['as']} = interrupt({_expression(act['value'], 'state')})")
        elif act["do"] == "fail":
            say(f"    if n <= {act['first']}:")
            say("        time.sleep(0.04)")
            say(f"        raise CaseError({act['message']!r})")
        elif act["do"] == "goto":
            goto, parent = _targets(act["to"], "state"), act.get("parent", False)
    if goto is None:
        say("    return update or None")
    else:
        graph = ", graph=Command.PARENT" if parent else ""
        say(f"    return Command(update=update or None, goto={goto}{graph})")


def _branch(lines: list[str], name: str, branch: dict[str, Any]) -> None:
    lines += ["", "", f"def {name}(state):"]
    lines.append(f"    which = {_expression(branch['on'], 'state')} % {len(branch['cases'])}")
    for index, case in enumerate(branch["cases"]):
        lines.append(f"    if which == {index}:")
        lines.append(f"        return {_targets(case, 'state')}")


def _build(lines: list[str], graph: dict[str, Any], prefix: str, *, top: bool, memory: str) -> None:
    builder = f"{prefix}builder"
    say = lines.append
    schemas = "".join(
        f", {field}_schema={prefix}{what}"
        for field, what in (("input", "Input"), ("output", "Output"))
        if graph.get(field)
    )
    lines += ["", "", f"{builder} = StateGraph({prefix}State{schemas})"]
    for name, spec in graph["nodes"].items():
        function = f"{prefix}{name}_graph" if "graph" in spec else f"{prefix}{name}"
        say(f"{builder}.add_node({name!r}, {function}{_options(spec, prefix + name)})")
    for source, target in graph["edges"]:
        say(f"{builder}.add_edge({_name(source)}, {_name(target)})")
    for index, branch in enumerate(graph.get("branches", ())):
        ends = list(dict.fromkeys(t if isinstance(t, str) else t["send"] for case in branch["cases"] for t in case))
        listed = ", ".join(_name(end) for end in ends)
        say(f"{builder}.add_conditional_edges({_name(branch['from'])}, {prefix}branch{index}, [{listed}])")
    stops = "".join(f", {when}={graph[when]!r}" for when in ("interrupt_before", "interrupt_after") if graph.get(when))
    if top:
        lines += ["", "", "def make(checkpointer=None):"]
        say(f"    return {builder}.compile(checkpointer=checkpointer{stops})")
        lines += ["", "", "graph = make()"]
    else:
        say(f"{prefix.rstrip('_')}_graph = {builder}.compile(checkpointer={MEMORY[memory]}{stops})")


def _options(spec: dict[str, Any], function: str) -> str:
    options = []
    if spec.get("defer"):
        options.append("defer=True")
    if spec.get("retries"):
        policy = f"max_attempts={spec['retries']}, initial_interval=0.001, max_interval=0.002, jitter=False"
        options.append(f"retry_policy=RetryPolicy({policy}, retry_on=CaseError)")
    if spec.get("on_error"):
        options.append(f"error_handler={function}_failed")
    gotos = [act["to"] for act in spec.get("do", ()) if act["do"] == "goto" and not act.get("parent")]
    ends = [target if isinstance(target, str) else target["send"] for to in gotos for target in to]
    if ends:
        options.append(f"destinations=({''.join(_name(end) + ', ' for end in ends)})")
    return "".join(f", {option}" for option in options)


def _name(name: Any) -> str:
    if isinstance(name, list):
        return f"[{', '.join(_name(one) for one in name)}]"
    return name if name in ("START", "END") else repr(name)


def _targets(targets: list[Any], state: str) -> str:
    parts = []
    for target in targets:
        if isinstance(target, str):
            parts.append(_name(target))
        elif "each" in target:
            argument = _expression(target["arg"], state)
            parts.append(f"*[Send({target['send']!r}, {argument}) for item in {_expression(target['each'], state)}]")
        else:
            parts.append(f"Send({target['send']!r}, {_expression(target['arg'], state)})")
    return f"[{', '.join(parts)}]"


def _messages(expression: list[Any]) -> str:
    assert expression[0] == "lit"
    parts = [f"RemoveMessage(id={one['id']!r})" if one.get("type") == "remove" else repr(one) for one in expression[1]]
    return f"[{', '.join(parts)}]"


def _expression(expression: list[Any], state: str) -> str:
    kind, *rest = expression

    def of(one: list[Any]) -> str:
        return _expression(one, state)

    if kind == "lit":
        return repr(rest[0])
    if kind == "get":
        return f"{state}.get({rest[0]!r}, {rest[1]!r})"
    if kind == "var":
        return str(rest[0])
    if kind == "item":
        return "item"
    if kind == "obj":
        return "{" + ", ".join(f"{key!r}: {of(one)}" for key, one in rest[0].items()) + "}"
    if kind == "list":
        return "[" + ", ".join(of(one) for one in rest) + "]"
    if kind in ("len", "str", "range"):
        name = {"len": "len", "str": "text", "range": "range"}[kind]
        return f"{name}({of(rest[0])})"
    return f"({of(rest[0])} {kind} {of(rest[1])})"
