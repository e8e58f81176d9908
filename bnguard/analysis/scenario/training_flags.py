"""The training flag: the placeholder that decides whether a layer trains."""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Set

from bnguard.analysis import limits
from bnguard.analysis.dataflow.constant_folding import StaticValue, can_fold
from bnguard.analysis.dataflow.deadness import Execution
from bnguard.analysis.ir.graph import MERGES, Tensor
from bnguard.analysis.ir.op_types import PLACEHOLDERS, SWITCHES
from bnguard.analysis.ir.protos import DATA_TYPES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph

_WITH_DEFAULT = "PlaceholderWithDefault"
_BOOL = DATA_TYPES["DT_BOOL"]
_RANDOM = ("RandomUniform", "RandomStandardNormal", "StatelessRandomUniform")


class TrainingFlag(NamedTuple):
    """A training flag.

    Attributes:
      tensor: the placeholder.
      training: its value in training, usually True.
      default: its value where it is not fed; None if it has to be fed.
    """

    tensor: Tensor
    training: bool
    default: Optional[bool]


def find_training_flags(recognized: RecognizedGraph) -> List[TrainingFlag]:
    """The placeholders that decide a branch on the way to a normalization or an update.

    Which of its values is the one for training is told by what is in the branches: updates,
    normalizations with the batch's own statistics, and random numbers, as of dropout, belong to
    training, normalizations with the running statistics to inference.
    """
    found = []
    # Those that decide most come first; of those that decide as many, who does so first.
    candidates = sorted(
        _candidates(recognized).items(), key=lambda one: (-len(one[1]), min(one[1]))
    )
    for tensor, switches in candidates[: limits.FLAG_CANDIDATES]:
        training = _training_value(recognized, tensor, switches)
        if training is not None:
            found.append(TrainingFlag(tensor, training, _default(recognized, tensor)))
    return found


def _candidates(recognized: RecognizedGraph) -> Dict[Tensor, List[int]]:
    """Each scalar bool placeholder, with the Switches whose predicate depends on it."""
    graph = recognized.graph
    candidates: Dict[Tensor, List[int]] = {}
    for selector, all_switches in graph.decided_by.items():
        # In the backward pass a moment is taken for its shape, and on the other side.
        switches = [one for one in all_switches if one not in recognized.gradients]
        for leaf in _placeholders_behind(recognized, selector) if switches else ():
            candidates.setdefault(leaf, []).extend(switches)
    return candidates


def _placeholders_behind(recognized: RecognizedGraph, selector: Tensor) -> Iterator[Tensor]:
    graph = recognized.graph
    stack, seen = [selector], {selector}
    while stack and len(seen) < limits.FLAG_NODES:
        tensor = stack.pop()
        kind = graph.types[tensor.node]
        if kind in PLACEHOLDERS or kind == _WITH_DEFAULT:
            if _is_scalar_bool(recognized, tensor.node):
                yield tensor
            continue
        inputs = graph.data_inputs(tensor.node)
        if tensor.node in graph.lowered:
            inputs = inputs[tensor.port : tensor.port + 1]
        elif kind in SWITCHES:
            inputs = inputs[:1]
        elif not can_fold(kind) and kind not in MERGES:
            continue
        new = [one for one in inputs if one not in seen]
        seen.update(new)
        stack += new


def _is_scalar_bool(recognized: RecognizedGraph, node: int) -> bool:
    attributes = recognized.graph.attributes(node)
    shape = attributes["shape"].shape
    return attributes["dtype"].type == _BOOL and all(one.size == 1 for one in shape.dim)


def _default(recognized: RecognizedGraph, tensor: Tensor) -> Optional[bool]:
    if recognized.graph.types[tensor.node] != _WITH_DEFAULT:
        return None
    value = Execution(recognized.graph, [], {}).value(tensor)
    return value if isinstance(value, bool) else None


def _training_value(
    recognized: RecognizedGraph, flag: Tensor, switches: List[int]
) -> Optional[bool]:
    # A few layers speak for all of a large network; only if they are silent are all asked.
    few = _sides(recognized, flag, switches[: limits.FLAG_SWITCHES])
    votes = _votes_of_branches(recognized, few)
    if not votes:
        sides = _sides(recognized, flag, switches)
        votes = _votes_of_branches(recognized, sides) or _votes_of_outputs(recognized, flag, sides)
    return None if not votes else votes > 0


def _sides(recognized: RecognizedGraph, flag: Tensor, switches: List[int]) -> Dict[int, int]:
    """For each Switch that the flag alone decides, the port that it selects at True."""
    steps = {value: Execution(recognized.graph, [], {flag: value}) for value in (True, False)}
    selected: Dict[Tensor, Optional[int]] = {}
    sides = {}
    for switch in switches:
        selector = recognized.graph.selector(switch)
        if selector not in selected:
            selected[selector] = _port_at_true(*(steps[v].value(selector) for v in (True, False)))
        port = selected[selector]
        if port is not None:
            sides[switch] = port
    return sides


def _port_at_true(at_true: StaticValue, at_false: StaticValue) -> Optional[int]:
    """Of `flag and other` only the outcome at False is known, and the like."""
    if isinstance(at_true, bool) and at_true != at_false:
        return int(at_true)
    if isinstance(at_false, bool) and at_true != at_false:
        return 1 - int(at_false)
    return None


def _votes_of_branches(recognized: RecognizedGraph, sides: Dict[int, int]) -> int:
    """Positive if training is on the side of True, negative if on that of False."""
    evidence = _evidence(recognized)
    moments = {moment for one in recognized.normalizations for moment in one.moments}
    votes = 0
    for at_true in (True, False):
        outputs = [Tensor(node, port if at_true else 1 - port) for node, port in sides.items()]
        total = sum(evidence.get(node, 0) for node in _branch(recognized, outputs))
        total += sum(_lets_moments_through(recognized, one, moments) for one in outputs)
        votes += total if at_true else -total
    return votes


def _votes_of_outputs(recognized: RecognizedGraph, flag: Tensor, sides: Dict[int, int]) -> int:
    """The same, from what the first Merges after the branches use at either value.

    This tells where the layers are not in the branches: built before, and chosen from.
    """
    graph, evidence = recognized.graph, _evidence(recognized)
    branches = _branch(recognized, (Tensor(switch, port) for switch in sides for port in (0, 1)))
    merges = {
        consumer
        for node in branches.union(sides)
        for consumer in graph.consumers[node]
        if graph.types[consumer] in MERGES
    }
    for merge in sorted(merges, key=graph.ranks.__getitem__)[: limits.FLAG_MERGES]:
        votes = 0
        for at_true in (True, False):
            step = Execution(graph, [Tensor(merge, 0)], {flag: at_true})
            total = sum(weight for node, weight in evidence.items() if step.uses(node))
            votes += total if at_true else -total
        if votes:
            return votes
    return 0


def _evidence(recognized: RecognizedGraph) -> Dict[int, int]:
    evidence = dict.fromkeys(recognized.graph.of_types(_RANDOM), 1)
    for statistic in recognized.statistics:
        evidence.update((write.node, 1) for write in statistic.updates)
    for one in recognized.normalizations:
        # What may use both kinds of statistics has the choice before it, in its inputs.
        evidence[one.node] = bool(one.moments) - bool(one.running_variance)
    return evidence


def _branch(recognized: RecognizedGraph, outputs: Iterable[Tensor]) -> Set[int]:
    """What depends on these outputs of Switches, up to the next Merge."""
    graph = recognized.graph
    stack = [consumer for output in outputs for consumer in graph.data_consumers(output)]
    branch: Set[int] = set()
    while stack:
        node = stack.pop()
        if node not in branch and graph.types[node] not in MERGES:
            branch.add(node)
            stack += graph.consumers[node]
    return branch


def _lets_moments_through(
    recognized: RecognizedGraph, output: Tensor, moments: Set[Tensor]
) -> bool:
    """Whether a Switch lets the batch's moments through on this port, and only on this."""
    ports = [Tensor(output.node, port) for port in (output.port, 1 - output.port)]
    used, other = (any(True for _ in recognized.graph.data_consumers(port)) for port in ports)
    data = recognized.graph.data_input(output.node, 0)
    return used and not other and not moments.isdisjoint(recognized.provenance.origins(data))
