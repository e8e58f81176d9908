"""Read the text form of a message, which protobuf's parser does in about a second for each MiB.

The nodes of a GraphDef are most of a file. As TensorFlow prints them, each field starts a line, and
most attributes are alike. So such nodes are read field by field, each different text once, and all
else by protobuf's parser. What is printed in any other way is given to that as it is.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional

from bnguard.analysis.ir import protos

_NODE = re.compile(r"^node \{\n((?:(?:  .*)?\n)*?)\}\n", re.MULTILINE)
_FIELD = re.compile(r"  \w+(?:: .*| \{\n(?:    .*\n)*  \})\n")
_ONCE = re.compile(r"^  (?:name|op|device): ", re.MULTILINE)
_PLAIN = re.compile(r'  (name|op|input|device): "([^"\\]*)"\n')  # nothing in it is escaped


def parse_text(text: str, name: str) -> bytes:
    """Return the bytes of a message of this name from its text form.

    Raises:
      ParseError, ValueError, ArithmeticError, RecursionError: it is not one.
    """
    from google.protobuf import text_format

    if name == "GraphDef":
        try:
            found = _printed_graph(text)
        except (text_format.ParseError, ValueError, ArithmeticError, RecursionError):
            found = None  # parsing the whole text finds the error again, with its line
        if found is not None:
            return found
    return bytes(_parsed(text, name).SerializeToString())


def _printed_graph(text: str) -> Optional[bytes]:
    """Return the bytes of a GraphDef as TensorFlow prints it; None if it is printed otherwise."""
    known: Dict[str, bytes] = {}
    nodes: List[bytes] = []
    rest: List[str] = []
    end = 0
    for node in _NODE.finditer(text):
        fields, once = _FIELD.findall(node.group(1)), _ONCE.findall(node.group(1))
        if sum(map(len, fields)) < len(node.group(1)) or len(set(once)) < len(once):
            return None
        for field in fields:
            if field not in known:
                known[field] = _field(field)
        nodes.append(b"".join(map(known.__getitem__, fields)))
        rest.append(text[end : node.start()])
        end = node.end()
    graph = _parsed("".join([*rest, text[end:]]), "GraphDef")
    if not nodes or graph.node:
        return None
    in_raw_form = protos.message("RawGraphDef")(node=nodes)
    return bytes(in_raw_form.SerializeToString() + graph.SerializeToString())


def _field(text: str) -> bytes:
    """Return the bytes of a NodeDef with one field."""
    plain = _PLAIN.fullmatch(text)
    if plain is None:
        return bytes(_parsed(text, "NodeDef").SerializeToString())
    key, value = plain.groups()
    values = {key: [value] if key == "input" else value}
    return bytes(protos.message("NodeDef")(**values).SerializeToString())


def _parsed(text: str, name: str) -> Any:
    from google.protobuf import text_format

    return text_format.Parse(text, protos.message(name)(), allow_unknown_field=True)
