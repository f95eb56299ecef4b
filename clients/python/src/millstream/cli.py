"""`millstream-py`: writes a LangGraph graph's file, and serves its functions."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

TOKEN_VARIABLE = "MILLSTREAM_NODE_TOKEN"


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    try:
        import langgraph  # noqa: F401
    except ImportError:
        return _fail("LangGraph is not installed here: pip install 'millstream[langgraph]'")
    _say_version()
    from millstream.langgraph import NoGraph
    from millstream.langgraph.channels import NotExported

    try:
        return int(asked.run(asked))
    except (NoGraph, NotExported) as reason:
        return _fail(str(reason))


def _say_version() -> None:
    """It leans on LangGraph's inner parts: another version may do otherwise."""
    try:
        required = requires("millstream") or ()
    except PackageNotFoundError:  # Run from its folder.
        return
    made_for = next(
        (one.partition("==")[2].partition(";")[0].strip() for one in required if "langgraph==" in one),
        None,
    )
    if made_for is not None and version("langgraph") != made_for:
        print(f"warning: made for langgraph {made_for}, and {version('langgraph')} is installed", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="millstream-py", description="LangGraph graphs on Millstream.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    export = verbs.add_parser("export", help="write the graph file of a compiled graph")
    export.add_argument("graph", metavar="module:graph", help="such as agent.main:graph or ./agent.py:graph")
    export.add_argument("--name", help="the graph's name; unless told, the module's")
    export.add_argument(
        "--url", default="http://127.0.0.1:9000", help="where workers reach the service; may hold ${env.NAME}"
    )
    export.add_argument(
        "--token", metavar="NAME", help=f"workers send ${{env.NAME}}; the service takes it from {TOKEN_VARIABLE}"
    )
    export.set_defaults(run=_export)

    serve = verbs.add_parser("serve", help="serve a compiled graph's functions")
    serve.add_argument("graph", metavar="module:graph")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=9000)
    serve.add_argument("--threads", type=int, default=64, help="how many plain functions run at a time")
    serve.add_argument("--own-store", action="store_true", help="keep the store that the graph was compiled with")
    serve.set_defaults(run=_serve)
    return parser


def _export(asked: argparse.Namespace) -> int:
    from millstream.langgraph import export, load
    from millstream.langgraph.text import text_of

    headers = {"authorization": f"Bearer ${{env.{asked.token}}}"} if asked.token else None
    found = export(load(asked.graph), asked.name or _name_of(asked.graph), url=asked.url, headers=headers)
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for error in found.errors:
        print(f"error: {error}", file=sys.stderr)
    if found.errors:
        return 1
    print(text_of(found.file, asked.graph), end="")
    return 0


def _serve(asked: argparse.Namespace) -> int:
    from millstream.langgraph import load, service_of

    logging.basicConfig(level=logging.INFO)
    token = os.environ.get(TOKEN_VARIABLE)
    if token is None and asked.host not in ("127.0.0.1", "localhost", "::1"):
        return _fail(f"off loopback the service wants a token: set {TOKEN_VARIABLE}, and export with --token")
    service = service_of(load(asked.graph), _name_of(asked.graph), own_store=asked.own_store)
    service.serve(asked.host, asked.port, token=token, threads=asked.threads)
    return 0


def _name_of(target: str) -> str:
    module = target.rpartition(":")[0]
    if module.endswith(".py"):
        return os.path.splitext(os.path.basename(module))[0]
    parts: list[Any] = [part for part in module.split(".") if part not in ("main", "graph", "app", "agent")]
    return str(parts[-1]) if parts else module.rpartition(".")[2]


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
