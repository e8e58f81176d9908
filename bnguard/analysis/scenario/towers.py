"""Towers: uses of one layer on several shares of a batch, each with an update of its own."""

from __future__ import annotations

from typing import List, Optional, Sequence

from bnguard.analysis import limits
from bnguard.analysis.dataflow.reachability import data_closure
from bnguard.analysis.ir.graph import CONTROL
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.scenario.entry_points import VALUELESS, data_sources
from bnguard.analysis.scenario.scenario import Step


class Towers:
    """The towers of a graph."""

    def __init__(self, recognized: RecognizedGraph) -> None:
        self._recognized = recognized
        self._inputs: Optional[List[int]] = None

    def left_out(self, statistic: Statistic, run: Sequence[int], step: Step) -> int:
        """How many towers' batches a statistic never sees.

        Args:
          statistic: the average of the moments of one or more batches.
          run: those of its updates that the step runs.
          step: a training step.

        A batch counts if it has the same inputs as one that is seen: a share of the same data.
        Other data, such as what a generator makes up, is left out on purpose.
        """
        if len(statistic.sources) < 2 or len(run) == len(statistic.updates):
            return 0
        graph, root = self._recognized.graph, self._recognized.provenance.root
        seen = data_closure(graph, run)
        averaged, left_out = set(), []
        for one in statistic.sources:
            batch = root(graph.data_input(one.moments[0].node, 0)).node
            if any(moment.node in seen for moment in one.moments):
                averaged.add(batch)
            elif batch not in seen and one.node in step.behind_gradients():
                left_out.append(batch)
        if not left_out:
            return 0
        inputs = self._find_inputs()
        alike = {inputs[batch] for batch in averaged}
        return sum(inputs[batch] in alike for batch in left_out)

    def _find_inputs(self) -> List[int]:
        """For each node the data sources whose values get there, as a set of bits."""
        if self._inputs is None:
            graph = self._recognized.graph
            self._inputs = [0] * len(graph)
            for number, source in enumerate(data_sources(graph)[: limits.TOWER_SOURCES]):
                # An outlet stands for its pipeline: each tower may have one of its own.
                pipeline = graph.sources[source][0] if graph.sources[source] else source
                self._inputs[source] = self._inputs[pipeline] = 1 << number
            for node in sorted(range(len(graph)), key=graph.ranks.__getitem__):
                if graph.types[node] not in VALUELESS:
                    for source, port in zip(graph.sources[node], graph.ports[node]):
                        if port != CONTROL:
                            self._inputs[node] |= self._inputs[source]
        return self._inputs
