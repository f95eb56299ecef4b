"""What a node's code did, as an answer: its writes, its questions, its error."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from langgraph._internal._constants import ERROR, INTERRUPT, NO_WRITES, RESUME, RETURN, TASKS
from langgraph.errors import GraphInterrupt, ParentCommand, is_invalid_resume
from langgraph.pregel._retry import _checkpoint_ns_for_parent_command, _should_retry_on
from langgraph.types import Command, Interrupt, RetryPolicy, Send

from millstream import wire
from millstream.langgraph import values
from millstream.langgraph.attempt import Attempt
from millstream.langgraph.doors import type_name

log = logging.getLogger("millstream.langgraph")

_BRANCH_TO = "branch:to:"
#: Writes that are no state and no way on.
_CONTROL = {RESUME, INTERRUPT, ERROR, NO_WRITES, RETURN}


async def answered(
    attempt: Attempt,
    policies: Sequence[RetryPolicy],
    run: Callable[[], Awaitable[None]],
    extra: Callable[[], dict[str, Any] | None],
) -> wire.Answer:
    """Whatever a node's code does, as an answer."""
    asked = attempt.questions
    try:
        answer = await _outcome(attempt, run, extra)
        used = asked.used
    except Exception as failed:
        log.warning("node %s failed", attempt.node, exc_info=failed)
        answer = wire.Answer(error=_error(attempt, policies, failed))
        # An answer that didn't fit isn't kept: the same question may be answered again.
        used = max(0, asked.used - 1) if is_invalid_resume(failed) else asked.used
    answer.answers_used = used if asked.answers else None
    answer.calls = attempt.calls
    return answer


async def _outcome(
    attempt: Attempt, run: Callable[[], Awaitable[None]], extra: Callable[[], dict[str, Any] | None]
) -> wire.Answer:
    try:
        await run()
    except ParentCommand as parent:
        return _to_parent(attempt, parent.args[0])
    except GraphInterrupt as interrupt:
        return wire.Answer(interrupts=[_question(one) for one in interrupt.args[0]])
    return _finished(attempt, extra())


def _finished(attempt: Attempt, extra: dict[str, Any] | None) -> wire.Answer:
    updates: list[tuple[str, Any]] = []
    goto: list[str | dict[str, Any]] = []
    for channel, value in attempt.writes:
        if channel == TASKS:
            goto.append(_send(value))
        elif channel.startswith(_BRANCH_TO):
            goto.append(channel.removeprefix(_BRANCH_TO))
        elif channel not in _CONTROL:
            updates.append((channel, values.to_json(value, f"channel `{channel}`, which node {attempt.node} wrote,")))
    return wire.Answer(updates=wire.updates_of(updates), goto=goto, extra=extra)


def _to_parent(attempt: Attempt, command: Command[Any]) -> wire.Answer:
    # By now LangGraph's runner has put the parent's namespace in the place of PARENT.
    if command.graph not in (Command.PARENT, _checkpoint_ns_for_parent_command(attempt.ask.checkpoint_ns)):
        raise ValueError(f"a Command for the graph {command.graph!r}: only Command.PARENT can be carried")
    updates = [
        (key, values.to_json(value, f"channel `{key}`, which node {attempt.node} wrote to the parent,"))
        for key, value in command._update_as_tuples()
    ]
    targets = [command.goto] if isinstance(command.goto, (str, Send)) else command.goto
    goto = [_send(one) if isinstance(one, Send) else one for one in targets]
    return wire.Answer(updates=wire.updates_of(updates), goto=[one for one in goto if one != "__end__"], to_parent=True)


def _send(send: Send) -> dict[str, Any]:
    if send.timeout is not None:
        raise ValueError(f"the send to {send.node} has a timeout of its own: give the timeout to the node instead")
    argument = values.to_json(send.arg, f"the argument of the send to {send.node}")
    if isinstance(argument, dict) and not isinstance(send.arg, Mapping):
        argument[values.TYPE_KEY] = type_name(type(send.arg))
    return {"node": send.node, "input": argument}


def _question(one: Interrupt[Any]) -> dict[str, Any]:
    question: dict[str, Any] = {"value": values.to_json(one.value, "the question")}
    if one.response_schema is not None:
        question["response_schema"] = one.response_schema
    return question


def _error(attempt: Attempt, policies: Sequence[RetryPolicy], failed: Exception) -> dict[str, Any]:
    matching = next((policy for policy in policies if _should_retry_on(policy, failed)), None)
    retryable = matching is not None and attempt.ask.attempt < matching.max_attempts
    wait = None
    if retryable and matching is not None and len(policies) > 1:
        # The file has one policy, and this one may wait longer.
        interval = matching.initial_interval * matching.backoff_factor ** (attempt.ask.attempt - 1)
        wait = int(1000 * min(matching.max_interval, interval))
    return wire.error(str(failed), type=type(failed).__name__, retryable=retryable, retry_after_ms=wait)
