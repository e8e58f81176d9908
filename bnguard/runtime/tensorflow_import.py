"""Import TensorFlow, and run its first session, without its start-up messages.

The messages come from C++ before a logging level applies (about oneDNN, CUDA and absl's log) or
where none does (TensorFlow 2.18's graph optimizer), so they are swallowed at the file descriptor.
"""

from __future__ import annotations

from contextlib import contextmanager
import os
import sys
import tempfile
from typing import Any, Iterator
import warnings

from bnguard.errors import BnguardError, first_line
from bnguard.runtime.requirements import require

_first_session_ran = False


def import_tensorflow() -> None:
    """Import TensorFlow quietly, and keep it quiet from then on.

    Raises:
      BnguardError: TensorFlow is not installed, or does not load.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    require(["tensorflow"], extra="tf")
    try:
        import numpy  # noqa: F401 - its own filters of warnings must outlive the block below

        with _stderr_swallowed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TF 1.15 with NumPy 1.17+: FutureWarning on dtypes
            import tensorflow.compat.v1 as tf
    except Exception as error:  # a broken installation, or one for a different NumPy: anything
        raise BnguardError(
            f"TensorFlow is installed and does not load ({type(error).__name__}: "
            f'{first_line(error)}). `python -c "import tensorflow"` '
            "shows more; reinstall it with: pip install --force-reinstall tensorflow"
        ) from error
    tf.logging.set_verbosity(tf.logging.ERROR)


def run_first_session(config: Any) -> None:
    """Run a throw-away session so that one-time log messages are swallowed.

    Args:
      config: the ConfigProto of the sessions to come; a process's first session sets its threads.
    """
    global _first_session_ran
    if _first_session_ran:
        return
    import tensorflow.compat.v1 as tf

    with _stderr_swallowed(), tf.Graph().as_default(), tf.Session(config=config) as session:
        session.run(tf.constant(0))
    _first_session_ran = True


@contextmanager
def _stderr_swallowed() -> Iterator[None]:
    sys.stderr.flush()
    try:
        swallowed = tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:  # no temporary folder can be written
        yield
        return
    saved = os.dup(2)
    with swallowed:
        os.dup2(swallowed.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
