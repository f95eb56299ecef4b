"""The example of plain functions, run with its graph file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import yaml

from serving import serving
from store_server import StoreServer
from under_test import start

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_functions_and_their_file() -> None:
    spec = importlib.util.spec_from_file_location("example_nodes", EXAMPLES / "nodes.py")
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (EXAMPLES / "nodes.yaml").read_text()
    kept = StoreServer("t0ken")
    with serving(module.app) as url, serving(kept) as store_url:
        file = yaml.safe_load(text.replace("http://127.0.0.1:9000", url))
        server = start(file, check=True, store={"url": store_url, "token": "t0ken"})
        came = server.run(input={"topic": "lazy"})
        best = "Why do lazy cats cross the road?"
        assert [one.value for one in server.state().interrupts] == [{"publish": best}]
        shown = "".join(line["token"]["text"] for line in came.told.lines)
        assert shown == "Why do lazy cats cross the road? Why do lazy dogs cross the road? "
        assert server.run(command={"resume": True}).values == {"best": best}
    assert [item.value for item in kept.store.search(("published",))] == [{"joke": best}]
