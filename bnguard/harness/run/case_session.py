"""Run a case's graph in a session of its own, and observe every step."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
import re
import traceback
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard import checkpoint_reader
from bnguard.errors import BnguardError, first_line
from bnguard.harness.cases.case import Model, Training
from bnguard.harness.cases.errors import BrokenCaseError, UnavailableError, broken
from bnguard.harness.cases.loading import LoadedCase
from bnguard.harness.results.closed_form import LayerStatistics
from bnguard.harness.results.record import (
    Failure,
    InferencePass,
    InferenceStep,
    TrainingRun,
    Values,
)
from bnguard.harness.results.terms import Phase, Reads
from bnguard.harness.run import checkpoint_writer
from bnguard.harness.run.layer_observer import LayerObserver
from bnguard.harness.run.options import BuildOptions
from bnguard.runtime import tensorflow_import

Executor = Tuple[FrozenSet[str], FrozenSet[str]]
"""The fetches and the feeds of a session run, by name; they select its executor."""

_REFUSALS = (ValueError, TypeError, NotImplementedError, tf.errors.OpError)
_MISSING = re.compile(r"Key (\S+) not found in checkpoint")


class RefusedError(UnavailableError):
    """TensorFlow raised an error in one phase of a case."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class CaseSession:
    """A case's model in a fresh graph and session of its own; use it in a `with` block.

    No variable has a value before `initialize` or `restore`.

    Args:
      case: the case.
      options: the class of variables, the control flow and the kernel to build with.
      build: builds the graph in the default graph.
      phase: the phase to name in errors while the graph is built or initialized.

    Raises:
      RefusedError: TensorFlow raises an error while it builds or runs the graph.
      BrokenCaseError: the case's own file raises an error, or returns no Model.
    """

    def __init__(
        self,
        case: LoadedCase,
        options: BuildOptions,
        build: Callable[[], Model],
        phase: Phase = Phase.BUILD,
    ) -> None:
        self._case = case
        self._options = options
        self._phase = phase
        self._graph = tf.Graph()
        with self._graph.as_default(), self._errors(phase), _switched(options):
            self._model = _built(case, build)
            self._variables = tf.global_variables()
            self._saver = self._model.saver or (tf.train.Saver() if self._variables else None)
            self._initializer = tf.global_variables_initializer()
            self.trainable = tuple(variable.op.name for variable in tf.trainable_variables())
        self.decay = self._model.decay
        self._state = self._model.variables or {
            variable.op.name: variable for variable in self._variables
        }
        self._layers = [
            LayerObserver(
                scope, self._model.decay, self._model.epsilon, bessel=options.fused != "no"
            )
            for scope in self._model.data
        ]
        self._session = _session(self._model.target, self._graph)
        self._inferring = self._session
        if self._model.inference.target is not None:
            self._inferring = _session(self._model.inference.target, self._graph)
        self._runs: Counter[Executor] = Counter()
        self._known: Optional[Values] = None

    def __enter__(self) -> CaseSession:
        self._session.__enter__()  # a Saver needs its graph to be the default
        return self

    def __exit__(self, *exc: Any) -> None:
        self._session.__exit__(*exc)
        self._session.close()
        self._inferring.close()

    def initialize(self) -> None:
        """Give every variable its initial value."""
        self._run(self._phase, self._initializer, {})

    def restore(self, path: str) -> None:
        """Initialize every variable, then restore a checkpoint with the case's Saver.

        Raises:
          BnguardError: the checkpoint is missing or damaged, or belongs to a different model.
        """
        prefix = checkpoint_reader.resolve(path)
        checkpoint_reader.verify(prefix, self._variables if self._model.saver is None else ())
        self.initialize()
        if self._saver is not None:
            with self._errors(self._phase), _naming_missing_variables(prefix):
                self._saver.restore(self._session, prefix)

    def save(self, prefix: str) -> str:
        """Save a checkpoint with the case's Saver, and return its prefix."""
        return checkpoint_writer.save(self._session, self._saver, prefix)

    def statistics(self) -> Dict[str, LayerStatistics]:
        """Return the current running statistics of every layer, by its scope."""
        values = self._values()
        return {layer.scope: layer.statistics(values) for layer in self._layers}

    def train(self, batch: np.ndarray, expected: Dict[str, LayerStatistics]) -> List[TrainingRun]:
        """Run one training step, and return the effect of each of its runs.

        Args:
          batch: float [rows, *spatial, channels].
          expected: the closed form of every layer's statistics before the step, by scope.
        """
        runs: List[TrainingRun] = []
        was = self._values()
        for training in self._model.training:
            data, outputs = self._train(training, batch)
            now = self._values()
            layers = {
                layer.scope: layer.trained(
                    was,
                    now,
                    data[layer.scope],
                    training.due(layer.scope, data[layer.scope]),
                    expected[layer.scope],
                )
                for layer in self._layers
            }
            runs.append(TrainingRun(_moved(was, now), layers, self._reads(was, now, data, outputs)))
            expected = {scope: run.expected for scope, run in layers.items()}
            was = now
        return runs

    def infer(self, session: str, rows: Sequence[np.ndarray]) -> InferencePass:
        """Infer rows one at a time, and record every step.

        Args:
          session: the origin of the variables' values, for the record.
          rows: each float [1, *spatial, channels].
        """
        layer = self._layers[0]
        before = now = self._values()
        earlier_runs = self._runs[self._executor(*self._inference(rows[0]))]
        expected = layer.statistics(before)
        steps: List[InferenceStep] = []
        for x in rows:
            was, x = now, np.asarray(x, np.float32)
            y, inputs = self._infer(x)
            now = self._values()
            steps.append(layer.inferred(was, now, x, inputs, y))
            expected = layer.advance(expected, inputs)
        return InferencePass(
            session=session,
            layer=layer.scope,
            before=before,
            after=now,
            steps=tuple(steps),
            expected={
                layer.name("moving_mean"): expected.mean,
                layer.name("moving_variance"): expected.variance,
            },
            earlier_runs=earlier_runs,
            frozen=not self._variables,
        )

    def infer_together(self, rows: Sequence[np.ndarray]) -> InferenceStep:
        """Infer all rows, each float [1, *spatial, channels], in one step."""
        was = self._values()
        x = np.concatenate(rows).astype(np.float32)
        y, inputs = self._infer(x)
        return self._layers[0].inferred(was, self._values(), x, inputs, y)

    def _train(self, training: Training, batch: np.ndarray) -> Any:
        fetches = [training.fetch, self._model.data, _or(training.outputs, ())]
        _, data, outputs = self._run(Phase.TRAIN, fetches, {self._model.x: batch, **training.feed})
        return data, None if training.outputs is None else outputs

    def _reads(self, was: Values, now: Values, data: Any, outputs: Any) -> Optional[Reads]:
        if outputs is None:
            return None
        first = self._layers[0]
        return first.reads(was, now, next(iter(data[first.scope].values())), outputs)

    def _infer(self, x: np.ndarray) -> Any:
        fetches, feed = self._inference(x)
        y, inputs, _ = self._run(Phase.INFER, fetches, feed, self._inferring)
        return y, x if self._model.inference.inputs is None else inputs

    def _inference(self, x: np.ndarray) -> Any:
        run = self._model.inference
        fetches = [run.output, _or(run.inputs, ()), list(run.beside)]
        return fetches, {self._model.x: x, **run.feed}

    def _values(self) -> Values:
        """Return the value of every variable; read them only if something ran since."""
        known = self._known
        if known is None:
            values = self._run(Phase.INFER, self._state, {})
            # A fetched ref variable may share its memory with it: copy before the next run.
            known = {name: np.array(value) for name, value in values.items()}
        self._known = known
        return known

    def _run(
        self, phase: Phase, fetches: Any, feed: Any, session: Optional[tf.Session] = None
    ) -> Any:
        self._runs[self._executor(fetches, feed)] += 1
        self._known = None
        with self._errors(phase):
            return (session or self._session).run(fetches, feed)

    def _executor(self, fetches: Any, feed: Any) -> Executor:
        """Return the key under which a session caches its executor: fetches and feeds."""
        fed = frozenset(tensor.name for tensor in feed)
        return frozenset(fetch.name for fetch in tf.nest.flatten(fetches)) - fed, fed

    @contextmanager
    def _errors(self, phase: Phase) -> Iterator[None]:
        try:
            yield
        except _REFUSALS as error:
            failure = Failure(phase, type(error).__name__, first_line(error))
            raise RefusedError(failure, self._refusal(failure)) from error

    def _refusal(self, failure: Failure) -> str:
        options = self._options
        return (
            f"{self._case.file.label}: phase {failure.phase} fails on TensorFlow {tf.__version__} "
            f"with {options.variables} variables, control flow {options.control_flow} and "
            f"fused={options.fused}: {failure.message} If it runs with other --variables or "
            "another --control-flow, TensorFlow refuses this combination."
        )


def _built(case: LoadedCase, build: Callable[[], Model]) -> Model:
    _keep_tracebacks_whole()  # they show whether the case file or TensorFlow raised an error
    try:
        model = build()
    except BnguardError:
        raise
    except (Exception, SystemExit) as error:
        innermost = traceback.extract_tb(error.__traceback__)[-1].filename
        if isinstance(error, _REFUSALS) and innermost != case.file.path:
            raise  # an error of TensorFlow or of a layer
        raise broken(case.file, "cannot be built", error) from error
    if not isinstance(model, Model):
        raise BrokenCaseError(
            f"{case.file.label}: build returned a {type(model).__name__}; expected a Model from "
            "bnguard.harness.cases.case. CONTRIBUTING.md explains how to write a case."
        )
    return model


@contextmanager
def _naming_missing_variables(prefix: str) -> Iterator[None]:
    """Blame the checkpoint, not TensorFlow, if the case's own Saver finds a variable missing."""
    try:
        yield
    except tf.errors.NotFoundError as error:
        missing = _MISSING.search(str(error))
        if missing is None:
            raise
        raise BnguardError(
            f"{prefix}: the checkpoint has no {missing.group(1)}, which the case's Saver restores. "
            "Give a checkpoint of this case."
        ) from error


def _keep_tracebacks_whole() -> None:
    """Switch off the filter of TensorFlow 2.7 and later that removes its own frames."""
    disable = getattr(tf.debugging, "disable_traceback_filtering", None)
    if disable is not None:
        disable()


def _or(tensor: Any, default: Any) -> Any:
    return default if tensor is None else tensor  # a tensor has no truth value


def _moved(was: Values, now: Values) -> Tuple[str, ...]:
    return tuple(name for name in sorted(was) if was[name].tobytes() != now[name].tobytes())


def _session(target: str, graph: tf.Graph) -> tf.Session:
    # One thread inside an op fixes the order of a convolution's sums, so that every run gives the
    # same bits. Different ops still run in parallel, and race.
    config = tf.ConfigProto(intra_op_parallelism_threads=1)
    tensorflow_import.run_first_session(config)
    return tf.Session(target, graph, config)


@contextmanager
def _switched(options: BuildOptions) -> Iterator[None]:
    """Switch TensorFlow to these variables and this control flow, and back again."""
    resource, v2 = tf.resource_variables_enabled(), tf.control_flow_v2_enabled()
    _switch(options.variables == "resource", options.control_flow == "v2")
    try:
        yield
    finally:
        _switch(resource, v2)


def _switch(resource: bool, v2: bool) -> None:
    (tf.enable_resource_variables if resource else tf.disable_resource_variables)()
    (tf.enable_control_flow_v2 if v2 else tf.disable_control_flow_v2)()
