"""Towers: uses of one layer on several shares of a batch, each with an update of its own."""

from __future__ import annotations

from typing import List, Optional, Sequence

from bnguard.analysis import limits
from bnguard.analysis.dataflow.reachability import data_closure
from bnguard.analysis.ir.graph import CONTROL
from bnguard.analysis.ir.op_types import VALUELESS
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.scenario.data_sources import data_sources
from bnguard.analysis.scenario.step import Step

_SLICES = frozenset(["Gather", "GatherV2", "Slice", "Split", "SplitV", "StridedSlice", "Unpack"])
_JOINS = frozenset(["Concat", "ConcatV2", "Pack"])


class Towers:
    """The towers of a graph."""

    def __init__(self, recognized: RecognizedGraph) -> None:
        self._recognized = recognized
        self._sources: Optional[List[int]] = None  # computed when first asked for

    def left_out(self, statistic: Statistic, run: Sequence[int], step: Step) -> int:
        """Return the number of towers whose batches a statistic never sees.

        A batch counts if its inputs are those of a batch that is seen: a share of the same data.
        Other data, such as the output of a generator, is left out on purpose.

        Args:
          statistic: the average of the moments of one or more batches.
          run: the updates of the statistic that the step runs.
          step: a training step.
        """
        if len(statistic.sources) < 2 or len(run) == len(statistic.updates):
            return 0
        graph, root = self._recognized.graph, self._recognized.provenance.root
        seen = data_closure(graph, run)
        averaged, others = [], []
        for layer in statistic.sources:
            batch = root(graph.data_input(layer.moments[0].node, 0))
            if any(moment.node in seen for moment in layer.moments):
                averaged.append(batch)
            elif batch not in averaged and layer.node in step.behind_gradients():
                others.append(batch)
        # Outputs of one op, such as tf.split, are shares; what is concatenated again is seen.
        split = {batch.node for batch in averaged}
        left_out = [batch for batch in others if batch.node in split or batch.node not in seen]
        left_out = [batch for batch in left_out if batch not in averaged]
        if not left_out:
            return 0
        sources = self._sources_of_nodes()
        seen_data = {sources[batch.node] for batch in averaged}
        whole = {sources[batch.node] for batch in averaged if not self._is_share(batch.node)}
        return sum(
            sources[batch.node] in seen_data
            and not (sources[batch.node] in whole and self._is_share(batch.node))
            for batch in left_out
        )

    def _is_share(self, batch: int) -> bool:
        """Return whether a batch is made of some of the rows of a larger one."""
        graph = self._recognized.graph
        stack, seen = [batch], {batch}
        while stack:
            node = stack.pop()
            op_type = graph.types[node]
            if op_type in _SLICES:
                return True
            if op_type not in VALUELESS and op_type not in _JOINS:
                unseen = {tensor.node for tensor in graph.data_inputs(node)} - seen
                seen |= unseen
                stack += unseen
        return False

    def _sources_of_nodes(self) -> List[int]:
        """Return, for each node, the data sources whose values reach it, as a set of bits."""
        if self._sources is None:
            graph = self._recognized.graph
            self._sources = reaching = [0] * len(graph)
            found = data_sources(graph)
            if len(found) > limits.TOWER_SOURCES:
                limits.TOWER_SOURCES.reach()
            for number, source in enumerate(found[: limits.TOWER_SOURCES]):
                # An outlet stands for its pipeline: each tower may have an outlet of its own.
                pipeline = graph.sources[source][0] if graph.sources[source] else source
                reaching[source] = reaching[pipeline] = 1 << number
            for node in graph.order:
                if graph.types[node] not in VALUELESS:
                    for source, port in zip(graph.sources[node], graph.ports[node]):
                        if port != CONTROL:
                            reaching[node] |= reaching[source]
        return self._sources
