"""Give each test a fresh graph."""

import pytest


@pytest.fixture(autouse=True)
def fresh_graph(graph):
    return graph
