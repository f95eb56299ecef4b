"""A graph file as YAML that a person reads: a line says one thing."""

from __future__ import annotations

import json
from typing import Any

import yaml

#: A value that fits is written on its line.
_LINE_CHARS = 100
_WIDTH = 120


def text_of(file: dict[str, Any], target: str) -> str:
    """The file, with the editor's schema and where it comes from."""
    return (
        "# yaml-language-server: $schema=graph.v1.schema.json\n"
        f"# Written by `millstream-py export {target}`; `millstream-py serve {target}` answers it.\n"
        + yaml.dump(_laid_out(file), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
    )


class _Block(dict[str, Any]):
    """Written one entry a line, however short."""


def _laid_out(file: dict[str, Any]) -> _Block:
    laid = _Block(file)
    for name in ("state", "nodes"):
        laid[name] = _Block(file.get(name, {}))
    for name, node in laid["nodes"].items():
        if isinstance(node.get("graph"), dict):
            laid["nodes"][name] = _Block({**node, "graph": _laid_out(node["graph"])})
    return laid


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        # Lists stand deeper than their key.
        super().increase_indent(flow, False)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        if not isinstance(mapping, _Block):
            node.flow_style = len(json.dumps(mapping, ensure_ascii=False)) <= _LINE_CHARS
        return node

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        node = super().represent_sequence(tag, sequence, flow_style)
        node.flow_style = all(isinstance(one, str) and "->" not in one for one in sequence)
        return node

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(_Block, _Dumper.represent_dict)
