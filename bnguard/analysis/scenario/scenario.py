"""A graph with the steps that are taken with it: all that a rule may look at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import (
    Dict,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from bnguard.analysis import limits
from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.dataflow.deadness import Execution
from bnguard.analysis.dataflow.predicates import ALWAYS, NEVER, Predicate, disjunction
from bnguard.analysis.dataflow.reachability import closure, data_closure
from bnguard.analysis.errors import AuditError
from bnguard.analysis.findings import Assumptions, Op
from bnguard.analysis.frontend.loader import Signature
from bnguard.analysis.ir.graph import CONTROL, Tensor
from bnguard.analysis.ir.op_types import is_optimizer
from bnguard.analysis.recognition.normalizations import Normalization
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.scenario.entry_points import find_outputs, find_train_ops
from bnguard.analysis.scenario.training_flags import TrainingFlag, find_training_flags
from bnguard.analysis.scenario.write_effects import WriteEffects

Feeds = Dict[Tensor, StaticValue]

_SHORT_PATH = 8


class WriteEffect(NamedTuple):
    """A write, and when it runs and changes something."""

    node: int
    predicate: Predicate


class Step:
    """One step.

    Attributes:
      model: of the graph.
      fetch: what it fetches, in words.
      execution: what it runs.
    """

    def __init__(self, recognized: RecognizedGraph, fetch: str, execution: Execution) -> None:
        self.recognized = recognized
        self.fetch = fetch
        self.execution = execution
        self._effects = WriteEffects(self.execution)
        self._graph = recognized.graph
        self._path_budget = int(limits.PATH_OPS)
        self._ops: Dict[int, Op] = {}
        self._behind_gradients: Optional[Set[int]] = None
        self._changes: Dict[int, Tuple[WriteEffect, ...]] = {}

    def with_feeds(self, feeds: Feeds) -> Step:
        """What fetches the same, with other feeds."""
        return Step(self.recognized, self.fetch, self.execution.with_feeds(feeds))

    def changes(self, statistic: Statistic) -> Tuple[WriteEffect, ...]:
        """The writes that may give the statistic another value in this step."""
        if statistic.variable not in self._changes:
            changes = [WriteEffect(one.node, self._effects.change(one)) for one in statistic.writes]
            self._changes[statistic.variable] = tuple(
                change for change in changes if change.predicate is not NEVER
            )
        return self._changes[statistic.variable]

    def applies_gradients(self) -> bool:
        """Whether an optimizer's op is in the step, which is then more than adding gradients up."""
        optimizers = self._graph.of_types(filter(is_optimizer, self._graph.present_types()))
        return any(map(self.execution.needs, optimizers))

    def behind_gradients(self) -> Set[int]:
        """What the gradients that the step takes in are computed from: the loss's network."""
        if self._behind_gradients is None:
            self._behind_gradients = data_closure(self._graph, self._appliers())
        return self._behind_gradients

    def foreign(self, nodes: Iterable[int]) -> Set[int]:
        """Those of `nodes` that the step needs, but takes in no gradient that they are behind."""
        appliers = self._appliers()
        needed = set(filter(self.execution.needs, nodes if appliers else ()))
        return needed and needed - data_closure(self._graph, appliers, until=needed)

    def surely_changes(self, statistic: Statistic) -> bool:
        """Whether the statistic changes however undecided predicates turn out."""
        predicates = [change.predicate for change in self.changes(statistic)]
        return disjunction(predicates, statistic.variable) == ALWAYS

    def uses_moments(self, one: Normalization) -> bool:
        """Whether a layer may normalize what is fetched with the moments of its own batch.

        Not so where they get into the layer's updates only.
        """
        execution = self.execution
        moments = [moment.node for moment in one.moments if execution.may_run(moment.node)]
        return any(map(execution.uses, moments)) and execution.uses(one.node)

    def runs(self, node: int) -> bool:
        """Whether the step surely runs `node`."""
        return self.execution.predicate(node) == ALWAYS

    def path(self, node: int) -> Tuple[Op, ...]:
        """The shortest way from what is fetched back to `node`.

        Of the paths in a graph with enormously many findings only the ends are given.
        """
        nodes = self.execution.path(node, max(self._path_budget, _SHORT_PATH))
        self._path_budget -= len(nodes)
        for one in nodes:
            if one not in self._ops:  # long paths have most of their ops in common
                self._ops[one] = Op(self._graph.names[one], self._graph.types[one])
        return tuple(map(self._ops.__getitem__, nodes))

    def _appliers(self) -> List[int]:
        return list(filter(self.execution.needs, self.recognized.appliers))


@dataclass(frozen=True)
class Scenario:
    """A graph and its steps.

    Attributes:
      model: the graph, understood.
      flags: its training flags.
      feeds: what the caller says is fed at inference; training may feed it anything else.
      inference: the steps that must not train.
      training: the steps that train, with every flag at its value for training.
      stored: the names in the checkpoint that was given, if one was.
      assumed: what of this nobody said.
    """

    recognized: RecognizedGraph
    flags: Tuple[TrainingFlag, ...]
    feeds: Feeds
    inference: Tuple[Step, ...]
    training: Tuple[Step, ...]
    stored: Optional[FrozenSet[str]]
    assumed: Assumptions

    def without_training(self, step: Step) -> Step:
        """A training step, but with the flags at their values for inference."""
        feeds = {flag.tensor: not flag.training for flag in self.flags}
        return step.with_feeds({**self.feeds, **feeds})

    def trains(self, parameters: Iterable[int]) -> bool:
        """Whether any training step writes any of these variables."""
        movers = self.recognized.movers(parameters)
        return any(step.execution.needs(one.node) for step in self.training for one in movers)


def build_scenario(
    recognized: RecognizedGraph,
    fetches: Sequence[str] = (),
    feeds: Optional[Mapping[str, StaticValue]] = None,
    train_op: Sequence[str] = (),
    signature: Optional[str] = None,
    stored: Optional[FrozenSet[str]] = None,
) -> Scenario:
    """Find out which steps there are.

    Args:
      model: the graph.
      fetches: the names that one inference step fetches; found in the graph if there are none.
      feeds: the value of each tensor that inference feeds, by name, None for any. A training flag
        that is not among them is taken to be at its value for inference; unless it has a
        default, and feeds are given at all, which it is then not among on purpose.
      train_op: the names that one training step runs; found in the graph if there are none.
      signature: of a SavedModel, the only one to look at.
      stored: the names in a checkpoint.

    Raises:
      AuditError: a name is not in the graph, or there is no such signature.
    """
    given = {recognized.tensor(name): value for name, value in (feeds or {}).items()}
    flags = tuple(find_training_flags(recognized))
    # Who says what is fed says all of it: a flag that is left out keeps its default, if any.
    open_flags = [
        flag
        for flag in flags
        if flag.tensor not in given and (feeds is None or flag.default is None)
    ]
    training = _training(recognized, train_op)
    inference = _inference(recognized, fetches, signature, training, flags)
    at_training = {**dict.fromkeys(given), **{flag.tensor: flag.training for flag in flags}}
    return Scenario(
        recognized,
        flags,
        given,
        tuple(one.step(recognized, {**one.feeds(open_flags), **given}) for one in inference),
        tuple(one.step(recognized, at_training) for one in training),
        stored,
        Assumptions(
            tuple(f"{recognized.name(one.tensor)}={not one.training}" for one in open_flags),
            () if fetches else tuple(one.label for one in inference),
            () if train_op else tuple(one.label for one in training),
            tuple(
                what for what, found in (("fetch", inference), ("train op", training)) if not found
            ),
        ),
    )


class _Plan(NamedTuple):
    """A step, before it is decided what is fed."""

    label: str
    fetches: Sequence[Tensor]
    inputs: Optional[Sequence[Tensor]] = None  # what a caller feeds, if a signature says so

    def feeds(self, flags: Iterable[TrainingFlag]) -> Feeds:
        """Flags at inference; one with a default that a caller cannot feed stays at that."""
        feeds: Feeds = dict.fromkeys(self.inputs or ())
        for flag in flags:
            if self.inputs is None or flag.tensor in self.inputs or flag.default is None:
                feeds[flag.tensor] = not flag.training
        return feeds

    def step(self, recognized: RecognizedGraph, feeds: Feeds) -> Step:
        return Step(recognized, self.label, Execution(recognized.graph, self.fetches, feeds))


def _training(recognized: RecognizedGraph, train_op: Sequence[str]) -> List[_Plan]:
    if train_op:
        return [_Plan(", ".join(train_op), [recognized.operation(name) for name in train_op])]
    found = [Tensor(node, CONTROL) for node in find_train_ops(recognized)]
    return [_Plan(recognized.name(one), [one]) for one in found]


def _inference(
    recognized: RecognizedGraph,
    fetches: Sequence[str],
    signature: Optional[str],
    training: Sequence[_Plan],
    flags: Sequence[TrainingFlag],
) -> List[_Plan]:
    signatures = recognized.loaded.signatures
    if signature is not None and signature not in signatures:
        raise AuditError(
            f"{recognized.loaded.label}: no signature is called {signature!r}; "
            f"it has {', '.join(map(repr, signatures)) or 'none'}"
        )
    if fetches:
        return [_Plan(", ".join(fetches), [recognized.tensor(name) for name in fetches])]
    keys = [signature] if signature is not None else filter(_is_for_inference, signatures)
    plans = [
        _signature_plan(recognized, key, signatures[key]) for key in islice(keys, limits.SIGNATURES)
    ]
    if signature is None:
        plans = [one for one in plans if not _applies_gradients(recognized, one)]
    if plans:
        return plans
    train_ops = [plan.fetches[0].node for plan in training]
    flag_nodes = [flag.tensor.node for flag in flags]
    outputs = [Tensor(node, 0) for node in find_outputs(recognized, train_ops, flag_nodes)]
    return [_Plan(recognized.name(one), [one]) for one in outputs]


def _is_for_inference(key: str) -> bool:
    """Not the one that initializes, which the library adds, nor Estimator's for training."""
    return not key.startswith("__") and key != "train"


def _applies_gradients(recognized: RecognizedGraph, plan: _Plan) -> bool:
    """Whether it trains, whatever it is called."""
    nodes = {tensor.node for tensor in plan.fetches} if recognized.appliers else set()
    return not recognized.appliers.isdisjoint(closure(nodes, recognized.graph.sources))


def _signature_plan(recognized: RecognizedGraph, key: str, signature: Signature) -> _Plan:
    outputs = [recognized.tensor(name) for name in signature.outputs]
    return _Plan(
        f"signature {key}", outputs, [recognized.tensor(name) for name in signature.inputs]
    )
