"""Records what LangGraph's own InMemoryStore (langgraph 1.2.22) does with random operations: `record.py > store.json`.

Left out is what docs/langgraph-differences.md names: truth as a number, comparing what isn't there, a wrong filter that met no
item, namespaces whose items are gone, and those that lost their oldest item alone.
"""

import json
import random
import sys

from langgraph.store.memory import InMemoryStore

SEED, CASES, OPS = 7, 150, 24
LABELS = ["a", "b", "c", "ab", "*", "é", "a b"]
VALUES = [
    {"n": 1, "s": "x"},
    {"n": 2.5, "s": "y", "tags": ["p", "q"]},
    {"n": "3", "meta": {"k": 1, "deep": {"z": None}}},
    {"n": -4, "tags": [1, {"k": 2}], "meta": {"k": 1.0}},
    {"n": 1.0, "s": None, "meta": {}},
]
PLAIN = [1, 1.0, 2.5, "x", "3", None, ["p", "q"], [1, {"k": 2}], [1, {"k": {"$gt": 1}}], {"k": 1}, {"deep": {"z": None}}, {}]
NUMBERS = [0, 1, 2.5, "2", -10, " 1 "]
WRONG = [{"n": {"$in": [1]}}, {"n": {"$gt": "x"}}, {"n": {"$gt": 1, "k": 2}}]


def labels(draw: random.Random, most: int = 3, least: int = 0) -> list[str]:
    return [draw.choice(LABELS) for _ in range(draw.randint(least, most))]


def filters(draw: random.Random) -> dict:
    kind = draw.random()
    if kind < 0.3:
        return {}
    if kind < 0.4:
        return draw.choice(WRONG)
    if kind < 0.6:
        wanted = {draw.choice(["$gt", "$gte", "$lt", "$lte"]): draw.choice(NUMBERS) for _ in range(draw.randint(1, 2))}
        return {"n": wanted, **({"s": draw.choice(["x", None])} if draw.random() < 0.2 else {})}
    if kind < 0.8:
        return {draw.choice(["n", "s", "meta", "tags", "none"]): {draw.choice(["$eq", "$ne"]): draw.choice(PLAIN[:8] + [{"k": 1}])}}
    return {draw.choice(["n", "s", "meta", "tags", "none"]): draw.choice(PLAIN) for _ in range(draw.randint(1, 2))}


def operation(draw: random.Random, n: int) -> dict:
    kind = "put" if n < 8 else draw.choice(["put", "put", "get", "delete", "search", "search", "search", "namespaces", "namespaces"])
    if kind == "put":
        name = draw.choice([labels(draw, least=1)] * 60 + [[], ["langgraph", "a"], ["a.b"], ["a", ""], ["a", "\0"]])
        return {"put": {"namespace": name, "key": draw.choice("xyz"), "value": draw.choice(VALUES)}}
    if kind in ("get", "delete"):
        return {kind: {"namespace": draw.choice([labels(draw, least=1)] * 5 + [["a.b"]]), "key": draw.choice("xyz")}}
    page = {"limit": draw.choice([0, 1, 2, 5, 10]), "offset": draw.choice([0, 0, 1, 3])} if draw.random() < 0.5 else {}
    if kind == "search":
        query = {"query": "what is x?"} if draw.random() < 0.2 else {}
        return {"search": {"prefix": labels(draw, 2), "filter": filters(draw), **page, **query}}
    depth = {"max_depth": draw.randint(1, 3)} if draw.random() < 0.4 else {}
    ends = {name: labels(draw, 2) for name in ("prefix", "suffix") if draw.random() < 0.5}
    return {"namespaces": {**ends, **depth, **page}}


def shown(item) -> dict:
    return {"namespace": list(item.namespace), "key": item.key, "value": item.value}


def result(store: InMemoryStore, op: dict):
    (kind, asked), = op.items()
    asked = dict(asked)
    if kind == "namespaces":
        asked = {k: tuple(v) if isinstance(v, list) else v for k, v in asked.items()}
        return [list(name) for name in store.list_namespaces(**asked)]
    if kind == "search":
        return [shown(item) for item in store.search(tuple(asked.pop("prefix")), **asked)]
    name, key = tuple(asked["namespace"]), asked["key"]
    if kind == "put":
        return store.put(name, key, asked["value"])
    if kind == "delete":
        return store.delete(name, key)
    found = store.get(name, key)
    return found and shown(found)


def moves_its_namespace(store: InMemoryStore, op: dict) -> bool:
    asked = op.get("delete", {"namespace": []})
    items = store._data.get(tuple(asked["namespace"]), {})
    return len(items) > 1 and next(iter(items)) == asked["key"]


def main() -> None:
    draw, cases = random.Random(SEED), []
    for _ in range(CASES):
        store, ops = InMemoryStore(), []
        for n in range(OPS):
            op = operation(draw, n)
            # A name that was looked at and has no item stays in its lists: nobody means that.
            for name in [name for name, items in store._data.items() if not items]:
                del store._data[name]
            if moves_its_namespace(store, op):
                continue
            try:
                gives = result(store, op)
                if op.get("search", {}).get("filter") not in WRONG:
                    ops.append({**op, "gives": gives})
            except ValueError as wrong:
                ops.append({**op, "refused": type(wrong).__name__})
        cases.append(ops)
    json.dump(cases, sys.stdout, ensure_ascii=False, indent=None, separators=(",", ":"))


main()
