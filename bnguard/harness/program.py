"""A case's graph in a session of its own: what a TF1 program is while it runs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, List, NamedTuple, Sequence

from bnguard import checkpoint
from bnguard.errors import BnguardError
from bnguard.harness.case import Model
from bnguard.harness.catalogue import LoadedCase
from bnguard.harness.record import Pass, Step, Values
from bnguard.harness.recurrence import Affine, Statistics, advance, which_statistics
import numpy as np
import tensorflow.compat.v1 as tf

FUSED = {"auto": None, "yes": True, "no": False}


class Build(NamedTuple):
    """How a graph is built.

    Attributes:
      fused: `auto`, `yes` or `no`: the layer's `fused`.
      variables: `ref` or `resource`.
      control_flow: `v1` or `v2`.
    """

    fused: str
    variables: str
    control_flow: str


class Program:
    """A case's model in a fresh graph and session of its own; use it in a `with` block.

    Raises:
      BnguardError: TensorFlow refuses to build the graph this way.
    """

    def __init__(self, case: LoadedCase, how: Build) -> None:
        """Build the graph. No variable has a value until `initialize` or `restore`."""
        self._case = case
        self._how = how
        self._graph = tf.Graph()
        with self._graph.as_default(), _variables_and_control_flow(how):
            try:
                self._model: Model = case.build(FUSED[how.fused])
            except (ValueError, TypeError, NotImplementedError, tf.errors.OpError) as error:
                raise self._refusal(error) from error
            self._variables = tf.global_variables()
            self._saver = tf.train.Saver()
            self._initializer = tf.global_variables_initializer()
        self._session = tf.Session(graph=self._graph)

    def __enter__(self) -> Program:
        self._session.__enter__()  # its graph becomes the default: a Saver wants that
        return self

    def __exit__(self, *exc: Any) -> None:
        self._session.__exit__(*exc)
        self._session.close()

    def initialize(self) -> None:
        """Give every variable its initial value."""
        self._session.run(self._initializer)

    def restore(self, path: str) -> None:
        """Give every variable its value in a checkpoint, verified beforehand.

        Raises:
          BnguardError: the checkpoint is missing, damaged or another model's.
        """
        checkpoint.verify(path, self._variables)
        self._saver.restore(self._session, checkpoint.resolve(path))

    def save(self, prefix: str) -> str:
        """Save every variable, as the source does, and return the prefix."""
        return checkpoint.save(self._session, self._saver, prefix)

    def train(self, batch: np.ndarray) -> None:
        """Run one training step on a batch, float [rows, *spatial, channels]."""
        model = self._model
        fetch = model.output if model.train is None else model.train
        self._run(fetch, {model.x: batch, **model.train_feed})

    def statistics(self) -> Statistics:
        """The layer's running statistics now."""
        return self._layer_statistics(self._values())

    def infer(self, session: str, rows: Sequence[np.ndarray]) -> Pass:
        """Infer rows one at a time, and record every step.

        Args:
          session: how the variables came to be, for the record.
          rows: each float [1, *spatial, channels].
        """
        before = now = self._values()
        expected = self._layer_statistics(before)
        steps: List[Step] = []
        for x in rows:
            was, x = now, np.asarray(x, np.float32)
            y = self._run(self._model.output, {self._model.x: x, **self._model.infer_feed})
            now = self._values()
            steps.append(self._step(x, y, was, now))
            expected = advance(expected, x, self._case.case.decay, bessel=self._how.fused != "no")
        return Pass(
            session=session,
            before=before,
            after=now,
            steps=tuple(steps),
            expected={
                self._name("moving_mean"): expected.mean,
                self._name("moving_variance"): expected.variance,
            },
        )

    def _step(self, x: np.ndarray, y: np.ndarray, was: Values, now: Values) -> Step:
        beta, gamma, mean, variance = (
            now[self._name(name)] for name in ("beta", "gamma", "moving_mean", "moving_variance")
        )
        before, after = self._layer_statistics(was), self._layer_statistics(now)
        affine = Affine(was[self._name("beta")], was[self._name("gamma")], self._model.epsilon)
        return Step(
            x=x,
            y=y,
            check=(x - before.mean) / (np.sqrt(before.variance) + 0.001),
            beta=beta,
            gamma=gamma,
            moving_mean=mean,
            moving_variance=variance,
            reads=which_statistics(x, y, before, after, affine),
        )

    def _layer_statistics(self, values: Values) -> Statistics:
        return Statistics(
            values[self._name("moving_mean")].astype(np.float64),
            values[self._name("moving_variance")].astype(np.float64),
        )

    def _name(self, variable: str) -> str:
        return f"{self._model.layer}/{variable}"

    def _values(self) -> Values:
        values = self._run({variable.op.name: variable for variable in self._variables}, {})
        # A fetched ref variable may share its memory with the variable: copy before the next run.
        return {name: np.array(value) for name, value in values.items()}

    def _run(self, fetch: Any, feed: Any) -> Any:
        try:
            return self._session.run(fetch, feed)
        except tf.errors.OpError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> BnguardError:
        how = self._how
        combination = f"{how.variables} variables under control flow {how.control_flow}"
        return BnguardError(
            f"{self._case.file.label}: TensorFlow {tf.__version__} refuses this graph with "
            f"{combination} and fused={how.fused} "
            f"({checkpoint.first_line(error)}). Choose another --variables or --control-flow."
        )


@contextmanager
def _variables_and_control_flow(how: Build) -> Iterator[None]:
    resource, v2 = tf.resource_variables_enabled(), tf.control_flow_v2_enabled()
    _switch(how.variables == "resource", how.control_flow == "v2")
    try:
        yield
    finally:
        _switch(resource, v2)


def _switch(resource: bool, v2: bool) -> None:
    (tf.enable_resource_variables if resource else tf.disable_resource_variables)()
    (tf.enable_control_flow_v2 if v2 else tf.disable_control_flow_v2)()
