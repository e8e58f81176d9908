"""A text graph is read as protobuf's parser reads it, whatever it looks like."""

from random import Random
import time

from google.protobuf import text_format
import pytest
from support.analysis import costly_graphs

from bnguard.analysis.frontend import text_graph
from bnguard.analysis.ir import protos

EXPECTED = (text_format.ParseError, ValueError, ArithmeticError, RecursionError)
LINES = (
    '  name: "a"',
    "  name: 'a'",
    '  name: "a\\n"',
    '  name: "a" op: "b"',
    '  input: "x"  # a comment',
    '  input: ["x", "y"]',
    "  device: 3",
    "  unknown: 3",
    "  attr {",
    "    key: 'a'",
    "    value { i: 1 } }",
    "  }",
    "}",
    "node {",
    "node { }",
    "library {",
    "# node {",
    "versions { producer: 9 }",
    "",
)


def text_of(data):
    return text_format.MessageToString(protos.message("GraphDef").FromString(data))


def read(parse):
    """Return the graph that a parser reads, or its error without the line and column."""
    try:
        return parse()
    except EXPECTED as error:
        return type(error), str(error)


def by_protobuf(text):
    return read(
        lambda: text_format.Parse(text, protos.message("GraphDef")(), allow_unknown_field=True)
    )


def by_us(text):
    return read(
        lambda: protos.message("GraphDef").FromString(text_graph.parse_text(text, "GraphDef"))
    )


def test_every_text_is_read_as_protobuf_reads_it():
    random = Random(0)
    printed = (text_of(costly_graphs.switches(2)) + "versions {\n  producer: 9\n}\n").split("\n")
    for _ in range(400):
        lines = list(printed)
        for _ in range(random.randrange(3)):
            at = random.randrange(len(lines))
            lines[at : at + random.randrange(2)] = [random.choice([*LINES, *printed])]
        text = "\n".join(lines)
        assert by_us(text) == by_protobuf(text), text


def test_a_printed_graph_takes_a_fraction_of_the_time():
    text = text_of(costly_graphs.one_selector(2000))
    began = time.process_time()
    ours = by_us(text)
    between = time.process_time()
    assert ours == by_protobuf(text)
    assert 2 * (between - began) < time.process_time() - between


@pytest.mark.parametrize("name", ["MetaGraphDef", "SavedModel"])
def test_other_messages_are_read_too(name):
    assert text_graph.parse_text("", name) == b""
