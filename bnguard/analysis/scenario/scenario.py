"""A graph and the steps that a program takes with it: all that a rule looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import (
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from bnguard.analysis import limits
from bnguard.analysis.checkpoints.stored_checkpoint import StoredCheckpoint
from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.errors import AuditError
from bnguard.analysis.findings import Assumptions
from bnguard.analysis.frontend.loader import Signature
from bnguard.analysis.ir.graph import CONTROL, Tensor
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.savers import checkpoint_name
from bnguard.analysis.scenario import names
from bnguard.analysis.scenario.entry_points import find_outputs, find_train_ops
from bnguard.analysis.scenario.step import Feeds, Step
from bnguard.analysis.scenario.training_flags import TrainingFlag, find_training_flags


@dataclass(frozen=True)
class Scenario:
    """A graph and its steps.

    Attributes:
      recognized: the graph.
      training_flags: its training flags.
      feeds: the feeds of inference that the caller gave; training may feed other values.
      inference: the steps that must not train.
      possible: steps of trained networks that a program may take to infer, although nothing turns
        training off in them. If it infers from another graph, it does not take them.
      training: the steps that train, with every training flag at its value for training.
      stored: the checkpoint, if the caller gave one.
      assumed: what was inferred from the graph.
    """

    recognized: RecognizedGraph
    training_flags: Tuple[TrainingFlag, ...]
    feeds: Feeds
    inference: Tuple[Step, ...]
    possible: Tuple[Step, ...]
    training: Tuple[Step, ...]
    stored: Optional[StoredCheckpoint]
    assumed: Assumptions

    def without_training(self, step: Step) -> Step:
        """Return a training step with the training flags at their values for inference."""
        flags = {flag.tensor: flag.at_inference for flag in self.training_flags}
        return step.with_feeds({**self.feeds, **flags})

    def trains(self, parameters: Iterable[int]) -> bool:
        """Return whether any training step writes any of these variables."""
        movers = self.recognized.movers(parameters)
        return any(step.execution.needs(write.node) for step in self.training for write in movers)


def build_scenario(
    recognized: RecognizedGraph,
    fetches: Sequence[str] = (),
    feeds: Optional[Mapping[str, StaticValue]] = None,
    train_op: Sequence[str] = (),
    signature: Optional[str] = None,
    stored: Optional[StoredCheckpoint] = None,
) -> Scenario:
    """Determine the steps of a program, from what the caller knows and from the graph.

    Args:
      recognized: the graph.
      fetches: the names that one inference step fetches; inferred from the graph if empty.
      feeds: the value of each tensor that inference feeds, by name; None for a value that is not
        known. A training flag that is not among them has its value for inference. But if any
        feeds are given, the list is taken as complete, and a flag with a default has that.
      train_op: the names that one training step runs; inferred from the graph if empty.
      signature: of a SavedModel, the only signature to analyse.
      stored: a checkpoint of the graph's variables.

    Raises:
      AuditError: a name is not in the graph, a text is fed to a placeholder that takes none, or
        there is no such signature.
    """
    given = {names.fed(recognized, name): value for name, value in (feeds or {}).items()}
    for tensor, value in given.items():
        names.check_fed(recognized, tensor, value)
    flags = tuple(find_training_flags(recognized))
    assumed_flags = [
        flag
        for flag in flags
        if flag.tensor not in given and (feeds is None or flag.default is None or flag.is_variable)
    ]
    values = {flag.tensor: _at_inference(recognized, flag, stored) for flag in assumed_flags}
    training = _training(recognized, train_op)
    inference, possible = _inference(recognized, fetches, signature, training, flags)
    at_training = {**dict.fromkeys(given), **{flag.tensor: flag.at_training for flag in flags}}
    found = {"fetch": [*inference, *possible], "train op": training}
    inference_steps, possible_steps = (
        tuple(
            plan.inference(recognized, {**plan.feeds(assumed_flags, values), **given})
            for plan in plans
        )
        for plans in (inference, possible)
    )
    return Scenario(
        recognized,
        flags,
        given,
        inference_steps,
        possible_steps,
        tuple(plan.training(recognized, at_training) for plan in training),
        stored,
        Assumptions(
            tuple(f"{flag.name(recognized)}={values[flag.tensor]}" for flag in assumed_flags),
            () if fetches else tuple(plan.label for plan in inference),
            tuple(plan.label for plan in possible),
            () if train_op else tuple(plan.label for plan in training),
            tuple(name for name, plans in found.items() if not plans),
        ),
    )


def _at_inference(
    recognized: RecognizedGraph, flag: TrainingFlag, stored: Optional[StoredCheckpoint]
) -> bool:
    """Return the value of a training flag at inference; of a variable, that in the checkpoint."""
    value = None
    if flag.is_variable and stored is not None:
        value = stored.value(checkpoint_name(recognized, flag.tensor.node))
    return flag.at_inference if value is None else bool(value)


class _StepPlan(NamedTuple):
    """A step before its feeds are known."""

    label: str
    fetches: Sequence[Tensor]
    inputs: Optional[Sequence[Tensor]] = None  # what a caller feeds, if a signature says so

    def feeds(self, flags: Iterable[TrainingFlag], values: Feeds) -> Feeds:
        """Return the flags at inference; one that a caller cannot feed keeps its default."""
        feeds: Dict[Tensor, StaticValue] = dict.fromkeys(self.inputs or ())
        for flag in flags:
            can_be_fed = self.inputs is None or flag.tensor in self.inputs
            if can_be_fed or flag.default is None or flag.is_variable:
                feeds[flag.tensor] = values[flag.tensor]
        return feeds

    def inference(self, recognized: RecognizedGraph, feeds: Feeds) -> Step:
        return Step.of_fetches(recognized, self.label, self.fetches, feeds)

    def training(self, recognized: RecognizedGraph, feeds: Feeds) -> Step:
        return Step(recognized, self.label, Execution(recognized.graph, self.fetches, feeds))


def _training(recognized: RecognizedGraph, train_op: Sequence[str]) -> List[_StepPlan]:
    if train_op:
        return [_StepPlan(", ".join(train_op), [names.run(recognized, name) for name in train_op])]
    found = [Tensor(node, CONTROL) for node in find_train_ops(recognized)]
    return [_StepPlan(recognized.name(tensor), [tensor]) for tensor in found]


def _inference(
    recognized: RecognizedGraph,
    fetches: Sequence[str],
    signature: Optional[str],
    training: Sequence[_StepPlan],
    flags: Sequence[TrainingFlag],
) -> Tuple[List[_StepPlan], List[_StepPlan]]:
    """Return the plans of the steps that infer, and of those that may."""
    signatures = recognized.loaded.signatures
    if signature is not None and signature not in signatures:
        raise AuditError(
            f"{recognized.loaded.label}: no signature is called {signature!r}; "
            f"it has {', '.join(map(repr, signatures)) or 'none'}"
        )
    if fetches:
        fetched = [names.fetched(recognized, name) for name in fetches]
        return [_StepPlan(", ".join(fetches), fetched)], []
    plans = _signature_plans(recognized, signature)
    if plans or any(not key.startswith("__") for key in signatures):
        return plans, []  # a SavedModel's graph with signatures for training alone is for that
    train_ops = [plan.fetches[0].node for plan in training]
    flag_nodes = [flag.tensor.node for flag in flags]
    outputs = find_outputs(recognized, train_ops, flag_nodes)
    return _output_plans(recognized, outputs.inference), _output_plans(recognized, outputs.possible)


def _output_plans(recognized: RecognizedGraph, nodes: Iterable[int]) -> List[_StepPlan]:
    tensors = [Tensor(node, 0) for node in nodes]
    return [_StepPlan(recognized.name(tensor), [tensor]) for tensor in tensors]


def _signature_plans(recognized: RecognizedGraph, only: Optional[str]) -> List[_StepPlan]:
    """Return a plan for each signature that may be for inference, or for the only one given."""
    signatures = recognized.loaded.signatures
    if only is not None:
        return [_signature_plan(recognized, only, signatures[only])]
    keys = [key for key in signatures if _is_for_inference(key)]
    if len(keys) > limits.SIGNATURES:
        limits.SIGNATURES.reach()
    plans = [_signature_plan(recognized, key, signatures[key]) for key in keys[: limits.SIGNATURES]]
    return [plan for plan in plans if not _applies_gradients(recognized, plan)]


def _is_for_inference(key: str) -> bool:
    """Return False for the key that initializes, which TensorFlow adds, and Estimator's `train`."""
    return not key.startswith("__") and key != "train"


def _applies_gradients(recognized: RecognizedGraph, plan: _StepPlan) -> bool:
    """Return whether a plan trains, whatever its key is."""
    nodes = {tensor.node for tensor in plan.fetches} if recognized.appliers else set()
    return not recognized.appliers.isdisjoint(closure(nodes, recognized.graph.sources))


def _signature_plan(recognized: RecognizedGraph, key: str, signature: Signature) -> _StepPlan:
    outputs = [recognized.tensor(name) for name in signature.outputs]
    inputs = [recognized.tensor(name) for name in signature.inputs]
    return _StepPlan(f"signature {key}", outputs, inputs)
