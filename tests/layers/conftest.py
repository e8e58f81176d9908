"""A fresh graph for each test."""

import pytest


@pytest.fixture(autouse=True)
def fresh_graph(graph):
    return graph
