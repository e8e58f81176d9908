"""Use every type of session in the same way: its graph, and runs without hooks."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Union

import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError

Session = Union[tf.Session, tf.InteractiveSession, tf.train.MonitoredSession]
"""A session of any type."""

Fetches = Any
"""The fetches of a `Session.run`: tensors, ops or their names, nested in any way."""

FeedDict = Mapping[Any, Any]
"""The feeds of a `Session.run`: a tensor, its name or a nest of tensors to its value."""


def is_session(value: object) -> bool:
    """Return whether `value` is a Session, InteractiveSession, MonitoredSession or similar."""
    return hasattr(value, "graph") and callable(getattr(value, "run", None))


def unwrap(session: Session) -> tf.Session:
    """Return the session inside a MonitoredSession; any other session is returned as it is.

    A step of the inner session runs no hooks, so the program does not count it.

    Raises:
      BnguardError: the argument is not a session, or it is closed.
    """
    if not is_session(session):
        raise BnguardError(
            f"{session!r}: not a session; expected a tf.Session, tf.InteractiveSession or "
            "tf.train.MonitoredSession whose graph has running statistics."
        )
    if not hasattr(session, "run_step_fn"):
        return session
    try:
        return session.run_step_fn(lambda step_context: step_context.session)
    except (AttributeError, RuntimeError) as error:
        raise _closed(session) from error


def graph_of(session: Session) -> tf.Graph:
    """Return the graph of an open session.

    Raises:
      BnguardError: as for `unwrap`.
    """
    return unwrap(session).graph


def run(session: Session, fetches: Fetches, feed: Optional[FeedDict] = None) -> Any:
    """Return the result of `session.run`, without running any hooks.

    Raises:
      BnguardError: as for `unwrap`.
      tf.errors.OpError: as for `Session.run`.
    """
    inner = unwrap(session)
    try:
        return inner.run(fetches, feed)
    except RuntimeError as error:
        if "closed" in str(error):
            raise _closed(session) from error
        raise


def _closed(session: Session) -> BnguardError:
    return BnguardError(
        f"{type(session).__name__}: the session is closed; expected an open one. Read the "
        "statistics before the session's `with` block ends, or from a checkpoint."
    )
