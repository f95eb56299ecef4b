"""A node of the Python package that keeps what it sees in the long-term store: `keeper.py PORT`."""

import sys

from millstream import App, get_store

app = App()


@app.node
def keep(state, task):
    store, said = get_store(), state["said"]
    # A task that is done again after a kill must not meet another one's.
    passing = ["passing", task.thread_id]
    store.put(["said", task.thread_id], said, {"said": said})
    store.put(passing, said, {"said": said})
    assert store.get(passing, said)["value"] == {"said": said}
    store.delete(passing, said)
    assert store.get(passing, said) is None
    return {"found": [item["value"]["said"] for item in store.search(["said", task.thread_id])]}


app.serve(port=int(sys.argv[1]))
