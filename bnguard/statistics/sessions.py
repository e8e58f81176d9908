"""Any kind of session, one way to use it: its graph, and a run that no hook sees."""

from __future__ import annotations

from typing import Any, Optional

import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError


def is_session(thing: Any) -> bool:
    """Whether `thing` is a Session, InteractiveSession, MonitoredSession or the like."""
    return hasattr(thing, "graph") and callable(getattr(thing, "run", None))


def unwrap(session: Any) -> Any:
    """The session that does the work: of a MonitoredSession the one inside, else itself.

    A step in the inner session runs no hooks, so it counts as no step of the program.

    Raises:
      BnguardError: this is no session, or it is closed.
    """
    if not is_session(session):
        raise BnguardError(
            f"{session!r} is no session; expected a tf.Session, tf.InteractiveSession or "
            "tf.train.MonitoredSession of the graph that holds the statistics."
        )
    if not hasattr(session, "run_step_fn"):
        return session
    try:
        return session.run_step_fn(lambda step_context: step_context.session)
    except (AttributeError, RuntimeError) as error:
        raise _closed(session) from error


def graph_of(session: Any) -> tf.Graph:
    """The graph of an open session.

    Raises:
      BnguardError: as `unwrap` does.
    """
    return unwrap(session).graph


def run(session: Any, fetches: Any, feed: Optional[Any] = None) -> Any:
    """What `session.run` returns, without any hooks.

    Raises:
      BnguardError: the session is closed.
      tf.errors.OpError: as `Session.run` does.
    """
    inner = unwrap(session)
    try:
        return inner.run(fetches, feed)
    except RuntimeError as error:
        if "closed" in str(error):
            raise _closed(session) from error
        raise


def _closed(session: Any) -> BnguardError:
    return BnguardError(
        f"{type(session).__name__}: the session is closed; expected an open one. Read the "
        "statistics before the session's `with` block ends, or from a checkpoint."
    )
