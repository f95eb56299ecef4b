"""Records how LangGraph's own InMemoryStore (langgraph 1.2.22) searches by meaning: `record_meaning.py > meaning.json`.

Its embedding counts words as `run_store::items::Words` does. Left out are equal scores, whose order is nobody's, and pages behind
the items with a score: LangGraph begins the others anew on each page (docs/langgraph-differences.md).
"""

import json
import random
import re
import sys

from langgraph.store.memory import InMemoryStore

SEED, CASES, DIMS = 11, 120, 24
WORDS = "red green blue apple pear plum likes hates eats very sweet sour big small one two".split()
FIELDS = [["$"], ["text"], ["text", "notes[*].text"], ["{title,text}"], ["meta.*"], ["notes[-1].text", "absent"]]


def fnv1a(word: bytes) -> int:
    value = 0x811C9DC5
    for byte in word:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def embed(texts: list[str]) -> list[list[float]]:
    vectors = []
    for text in texts:
        vector = [0.0] * DIMS
        for word in re.findall(r"[^\W_]+", text):
            vector[fnv1a(word.lower().encode()) % DIMS] += 1
        vectors.append(vector)
    return vectors


def text(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, 6)))


def value(draw: random.Random) -> dict:
    made = {"n": draw.randint(0, 3)}
    if draw.random() < 0.8:
        made["text"] = text(draw)
    if draw.random() < 0.4:
        made["title"] = text(draw)
    if draw.random() < 0.4:
        made["notes"] = [{"text": text(draw)} for _ in range(draw.randint(0, 3))]
    if draw.random() < 0.3:
        made["meta"] = {"kind": text(draw), "size": draw.choice([1, 2.5, True, None])}
    return made


def main() -> None:
    draw, cases = random.Random(SEED), []
    while len(cases) < CASES:
        fields = draw.choice(FIELDS)
        store = InMemoryStore(index={"dims": DIMS, "embed": embed, "fields": fields})
        puts = []
        for n in range(draw.randint(3, 12)):
            put = {"namespace": [draw.choice("ab")], "key": str(n), "value": value(draw)}
            index = draw.choice([None] * 6 + [False, ["title"], ["notes[*].text"]])
            store.put(tuple(put["namespace"]), put["key"], put["value"], index)
            puts.append({**put, **({} if index is None else {"index": index})})
        for _ in range(4):
            search = {
                "prefix": draw.choice([[], ["a"], ["b"]]),
                "query": text(draw),
                "filter": draw.choice([{}, {}, {"n": {"$gte": 1}}]),
                "limit": draw.choice([2, 5, 20]),
            }
            asked = {**search, "prefix": None}
            asked.pop("prefix")
            found = store.search(tuple(search["prefix"]), **asked)
            everything = store.search(tuple(search["prefix"]), **{**asked, "limit": 100})
            scores = [item.score for item in everything if item.score is not None]
            if len(set(round(score, 9) for score in scores)) < len(scores):
                continue
            gives = [{"key": item.key, "score": item.score} for item in found]
            cases.append({"fields": fields, "puts": puts, "search": search, "gives": gives})
    json.dump(cases, sys.stdout, ensure_ascii=False, indent=None, separators=(",", ":"))


main()
