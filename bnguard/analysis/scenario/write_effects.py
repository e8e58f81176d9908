"""Write effects: when a write that runs changes its variable.

Layers with one update op for training and inference run it in both. At inference they make it add
zero, or assign the variable's own value.

A rule asks either whether a tensor is nonzero, or whether it differs from a variable, and is
answered from the same questions about other tensors. The questions are answered in topological
order. Those that a loop leads back to are undecided in a first run, and take the answers of the
first run in a second.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.dataflow.predicates import (
    ALWAYS,
    NEVER,
    UNDECIDED,
    BranchOutcome,
    Predicate,
    conjunction,
    disjunction,
)
from bnguard.analysis.dataflow.provenance import Provenance
from bnguard.analysis.ir.graph import MERGES, Tensor
from bnguard.analysis.ir.op_types import (
    ADDITIONS,
    ASSIGNS,
    DIVISIONS,
    FUSED_NORMALIZATIONS,
    PLACEHOLDERS,
    SELECTS,
)
from bnguard.analysis.recognition.normalizations import uses_batch
from bnguard.analysis.recognition.writes import Write

_NEUTRAL = {"Mul": 1, **dict.fromkeys(DIVISIONS, 1), **dict.fromkeys(ADDITIONS, 0), "Sub": 0}
_FED = PLACEHOLDERS | {"PlaceholderWithDefault"}
_INCREMENTS = frozenset(["AssignAdd", "AssignAddVariableOp", "AssignSub", "AssignSubVariableOp"])

_VISITS = 32  # to nodes, which take as long as one question


class WriteEffect(NamedTuple):
    """A write that may change its variable.

    Attributes:
      node: the op that writes.
      predicate: when it runs and changes the variable.
    """

    node: int
    predicate: Predicate


class _Question(NamedTuple):
    """Whether `tensor` differs from the value of `variable`, or from zero if that is None."""

    tensor: Tensor
    variable: Optional[int]


Answers = Callable[[_Question], Predicate]


class _Rule(NamedTuple):
    """How a question is answered: from which other questions, and how."""

    questions: List[_Question]
    answer: Callable[[Answers], Predicate]


class WriteEffects:
    """The effects of the writes of one step."""

    def __init__(self, step: Execution) -> None:
        self._step = step
        self._provenance = Provenance(step.graph, step)

    def of(self, writes: Sequence[Write]) -> Tuple[WriteEffect, ...]:
        """Return the effects of those of `writes` that may change their variables."""
        effects = (WriteEffect(write.node, self.predicate(write)) for write in writes)
        return tuple(effect for effect in effects if effect.predicate is not NEVER)

    def predicate(self, write: Write) -> Predicate:
        """Return when the step runs `write` and gives the variable another value."""
        runs = self._step.predicate(write.node)
        op_type = self._step.graph.types[write.node]
        if runs is NEVER or not (op_type in _INCREMENTS or op_type in ASSIGNS):
            return runs
        value = self._step.graph.data_inputs(write.node)[-1]
        question = self._question(value, None if op_type in _INCREMENTS else write.variable)
        return conjunction([runs, self._answer(question)])

    def _question(self, tensor: Tensor, variable: Optional[int] = None) -> _Question:
        return _Question(self._provenance.root(tensor), variable)

    def _answer(self, question: _Question) -> Predicate:
        rules = self._rules_behind(question)
        if rules is None:
            return UNDECIDED
        ranks = self._step.graph.ranks
        ordered = sorted(rules, key=lambda other: ranks[other.tensor.node])
        answers = _run(rules, ordered, {})
        if _has_loop(rules, ranks):
            answers = _run(rules, ordered, answers)
        return answers[question]

    def _rules_behind(self, question: _Question) -> Optional[Dict[_Question, _Rule]]:
        """Return the rules for `question` and all behind it; None if these exceed the limit."""
        rules: Dict[_Question, _Rule] = {}
        stack = [question]
        while stack:
            current = stack.pop()
            if current in rules:
                continue
            if len(rules) == limits.EFFECT_TENSORS:
                limits.EFFECT_TENSORS.reach()
                limits.spend(_VISITS * len(rules))
                return None
            rules[current] = self._rule(current)
            stack += rules[current].questions
        limits.spend(_VISITS * len(rules))
        return rules

    def _rule(self, question: _Question) -> _Rule:
        tensor, variable = question
        op_type = self._step.graph.types[tensor.node]
        if variable is None and self._step.value(tensor) == 0:
            return _fact(NEVER)
        if op_type in MERGES:
            return self._merge_rule(question)
        if op_type in SELECTS:
            return self._select_rule(question)
        return self._nonzero_rule(tensor) if variable is None else self._differs_rule(question)

    def _merge_rule(self, question: _Question) -> _Rule:
        """Ask about each input that can reach a Merge."""
        tensor, variable = question
        inputs = self._step.inputs(tensor.node)
        questions = [self._question(entry, variable) for entry, _ in inputs]

        def answer(answers: Answers) -> Predicate:
            reaching = [reaches for _, reaches in inputs]
            return disjunction(
                [conjunction(pair) for pair in zip(reaching, map(answers, questions))], tensor
            )

        return _Rule(questions, answer)

    def _select_rule(self, question: _Question) -> _Rule:
        """Ask about each input that a Select may select.

        A selector that is fed is a branch like any other. One that is computed counts as either:
        layers select on the number of rows, so as not to divide by zero.
        """
        tensor, variable = question
        selector, *choices = self._step.graph.data_inputs(tensor.node)[:3]
        value = self._step.value(selector)
        questions = [self._question(choice, variable) for choice in choices]
        if value is not None:
            selected = questions[0 if value else 1]
            return _Rule([selected], lambda answers: answers(selected))
        origin, negated = self._step.selector_origin(selector)
        outcomes: List[Predicate] = [ALWAYS, ALWAYS]
        if self._step.graph.types[origin.node] in _FED:
            ports = (0, 1) if negated else (1, 0)
            outcomes = [frozenset([BranchOutcome(origin, port, 2)]) for port in ports]

        def answer(answers: Answers) -> Predicate:
            return disjunction(
                [conjunction(pair) for pair in zip(outcomes, map(answers, questions))], tensor
            )

        return _Rule(questions, answer)

    def _nonzero_rule(self, tensor: Tensor) -> _Rule:
        op_type = self._step.graph.types[tensor.node]
        inputs = self._step.graph.data_inputs(tensor.node)
        if op_type == "Mul":
            factors = [self._question(factor) for factor in inputs]
            return _Rule(factors, lambda answers: conjunction(map(answers, factors)))
        if op_type in DIVISIONS or op_type == "Neg":
            operand = self._question(inputs[0])
            return _Rule([operand], lambda answers: answers(operand))
        variables = self._provenance.variables(inputs[0]) if op_type == "Sub" else []
        if len(variables) != 1:
            return _fact(ALWAYS)
        minuend, subtrahend = (self._question(operand, variables[0]) for operand in inputs[:2])

        def answer(answers: Answers) -> Predicate:
            return answers(subtrahend) if answers(minuend) is NEVER else ALWAYS

        return _Rule([minuend, subtrahend], answer)

    def _differs_rule(self, question: _Question) -> _Rule:
        tensor, variable = question
        op_type = self._step.graph.types[tensor.node]
        if op_type in _NEUTRAL:
            first, second = self._step.graph.data_inputs(tensor.node)[:2]
            if self._step.value(second) == _NEUTRAL[op_type]:
                operand = self._question(first, variable)
                return _Rule([operand], lambda answers: answers(operand))
        given = self._given_statistic(tensor)
        if given is not None:
            source = self._question(given, variable)
            return _Rule(
                [source], lambda answers: UNDECIDED if answers(source) is NEVER else ALWAYS
            )
        return _fact(NEVER if self._is_value_of(variable, tensor) else ALWAYS)

    def _is_value_of(self, variable: Optional[int], tensor: Tensor) -> bool:
        """Return whether a tensor is made of elements of one variable, and of nothing else."""
        variables = self._provenance.variables
        return self._provenance.origins(tensor).all_are(
            lambda origin: variables(origin) == [variable]
        )

    def _given_statistic(self, tensor: Tensor) -> Optional[Tensor]:
        """Return the statistic that a fused op at inference may return as a moment of the batch.

        Keras assigns it to the variables that it comes from, where training is a tensor. On a CPU
        it is the same value, but NaN for a batch of no rows; tensorflow/core/kernels/
        fused_batch_norm_op.cc does not always set it on a GPU.
        """
        graph = self._step.graph
        if graph.types[tensor.node] not in FUSED_NORMALIZATIONS or tensor.port not in (1, 2):
            return None
        inputs = graph.data_inputs(tensor.node)
        return inputs[tensor.port + 2] if not uses_batch(graph, tensor.node) else None


def _fact(predicate: Predicate) -> _Rule:
    return _Rule([], lambda answers: predicate)


def _run(
    rules: Mapping[_Question, _Rule],
    ordered: Sequence[_Question],
    earlier: Mapping[_Question, Predicate],
) -> Dict[_Question, Predicate]:
    """Return the answers of one run: to a question of a loop, that of the earlier run."""
    answers: Dict[_Question, Predicate] = {}

    def answer(question: _Question) -> Predicate:
        return answers[question] if question in answers else earlier.get(question, UNDECIDED)

    for question in ordered:
        answers[question] = rules[question].answer(answer)
    return answers


def _has_loop(rules: Mapping[_Question, _Rule], ranks: Sequence[int]) -> bool:
    """Return whether a rule asks a question that is not before its own in topological order."""
    return any(
        ranks[asked.tensor.node] >= ranks[question.tensor.node] and asked in rules
        for question, rule in rules.items()
        for asked in rule.questions
    )
