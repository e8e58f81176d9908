"""TensorFlow without its start-up chatter: while it is imported, and in its first session.

The chatter comes from C++ before any logging level applies (the notes on oneDNN and CUDA,
and the one on absl's own log), or where none does (TensorFlow 2.18 on its graph optimizer), so
it is held back at the file descriptor.
"""

from __future__ import annotations

from contextlib import contextmanager
import importlib.util
import os
import sys
import tempfile
from typing import Any, Iterator
import warnings

from bnguard.errors import BnguardError, first_line

_begun = False


def import_tensorflow() -> None:
    """Import TensorFlow, and keep it quiet from here on.

    Raises:
      BnguardError: TensorFlow is not installed, or does not load.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if importlib.util.find_spec("tensorflow") is None:
        raise BnguardError(
            "TensorFlow is not installed, and running cases and reading checkpoints need it; any "
            "from 1.15 to 2.21 will do. Install it with: pip install tensorflow"
        )
    try:
        with _stderr_held_back(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TF 1.15 under NumPy 1.17+: FutureWarning on dtypes
            import tensorflow.compat.v1 as tf
    except Exception as error:  # whatever a module that is half there, or not of this NumPy, does
        raise BnguardError(
            f"TensorFlow is installed and does not load ({type(error).__name__}: "
            f'{first_line(error)}). `python -c "import tensorflow"` '
            "says more; install it anew with: pip install --force-reinstall tensorflow"
        ) from error
    tf.logging.set_verbosity(tf.logging.ERROR)
    _keep_tracebacks_whole(tf)


def begin_sessions(config: Any) -> None:
    """Let TensorFlow say now, unheard, what it says once, when the first graph is run.

    Args:
      config: the sessions' ConfigProto; threads are those of a process's first session.
    """
    global _begun
    if _begun:
        return
    import tensorflow.compat.v1 as tf

    with _stderr_held_back(), tf.Graph().as_default(), tf.Session(config=config) as session:
        session.run(tf.constant(0))
    _begun = True


def _keep_tracebacks_whole(tf: Any) -> None:
    """From 2.7 on TensorFlow leaves its own frames out, and its errors look like the caller's."""
    leave_in = getattr(tf.debugging, "disable_traceback_filtering", None)
    if leave_in is not None:
        leave_in()


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    sys.stderr.flush()
    try:
        held = tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:  # nowhere to hold it
        yield
        return
    saved = os.dup(2)
    with held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
