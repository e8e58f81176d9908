"""Run a program in this process as `python PROGRAM ARGS...` or `python -m MODULE ARGS...` would."""

from __future__ import annotations

import os
import pkgutil
import runpy
import sys
import threading
import traceback
from types import CodeType, ModuleType, TracebackType
from typing import Any, Callable, Dict, FrozenSet, List, NamedTuple, Optional

from bnguard.errors import BnguardError
from bnguard.watch.program_signals import INTERRUPTED

_STARTERS = (__file__, os.path.join(os.path.dirname(__file__), "runner.py"))
_RUNPY = (runpy.__file__, "<frozen runpy>")


class Program(NamedTuple):
    """A program.

    Attributes:
      name: the path of a script, of a folder or zip archive with a `__main__.py`, or the name of a
        module.
      arguments: what follows the name on the command line.
      is_module: whether the name is that of a module.
    """

    name: str
    arguments: List[str]
    is_module: bool = False

    def load(self) -> Callable[[], Any]:
        """Prepare `sys.argv`, `sys.path` and `__main__`, and return a function that runs it.

        Raises:
          BnguardError: there is no such script, or it is no Python program.
        """
        sys.argv[:] = [self.name, *self.arguments]
        if self.is_module:
            sys.path[0] = os.getcwd()
            return lambda: _run_as_main(self.name, alter_argv=True)
        # Python 3.9 and later know the main program by its absolute path.
        path = os.path.abspath(self.name) if sys.version_info >= (3, 9) else self.name
        if pkgutil.get_importer(self.name) is not None:
            sys.path[0] = path
            return lambda: _run_as_main("__main__", alter_argv=False)
        code = self._compiled(path)
        sys.path[0] = os.path.dirname(os.path.realpath(self.name))
        namespace = _main_module(path)
        return lambda: exec(code, namespace)

    def _compiled(self, path: str) -> CodeType:
        try:
            with open(self.name, "rb") as file:
                source = file.read()
        except OSError as error:
            raise BnguardError(
                f"{self.name}: cannot be read ({error.strerror}); give the path of a Python "
                "program, or -m and the name of a module."
            ) from error
        try:
            return compile(source, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise BnguardError(f"{self.name}: not a Python program ({error}).") from error


def run(program: Callable[[], Any]) -> int:
    """Run a program that was loaded, and return its exit status, after its threads have ended.

    An exception is shown as Python shows it, without the frames of this package.
    """
    status = _status_of(program)
    return _status_of(_join_threads) or status


def _status_of(function: Callable[[], Any]) -> int:
    """Call a function; return the exit status of a program that consists of this call."""
    try:
        function()
        return 0
    except SystemExit as error:
        return _exit_status(error.code)
    except KeyboardInterrupt as error:
        _show(error)
        return INTERRUPTED
    except BaseException as error:
        _show(error)
        return 1


def launcher_files() -> FrozenSet[str]:
    """Return the files of the frames on the current stack that started the program, or will."""
    files = [frame.filename for frame in traceback.extract_stack()][:-1]
    starters = [position for position, file in enumerate(files) if file in _STARTERS]
    return frozenset([*files[: max(starters, default=-1) + 1], *_STARTERS, *_RUNPY])


def _run_as_main(name: str, alter_argv: bool) -> None:
    """Run a module as `python -m` does, which calls the same function."""
    sys.modules["__main__"] = ModuleType("__main__")
    runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined]


def _main_module(path: str) -> Dict[str, Any]:
    module = ModuleType("__main__")
    module.__file__ = path
    module.__dict__.update(__builtins__=__builtins__, __cached__=None, __spec__=None)
    sys.modules["__main__"] = module
    return module.__dict__


def _join_threads() -> None:
    """Wait for the program's threads, as Python does before it exits."""
    for end in reversed(getattr(threading, "_threading_atexits", ())):
        end()  # of executors, whose threads would wait for work
    while True:
        threads = [thread for thread in threading.enumerate() if _is_waited_for(thread)]
        if not threads:
            return
        for thread in threads:
            thread.join()


def _is_waited_for(thread: threading.Thread) -> bool:
    return thread not in (threading.main_thread(), threading.current_thread()) and not thread.daemon


def _exit_status(code: Any) -> int:
    """Return the status for the argument of `sys.exit`, which is printed if it is a text."""
    if code is None or isinstance(code, int):
        return int(code or 0)
    if sys.stderr is not None:
        print(code, file=sys.stderr)
    return 1


def _show(error: BaseException) -> None:
    """Show an exception as Python does, without the frames of this package and of runpy."""
    frames = _without_own(error.__traceback__)
    sys.excepthook(type(error), error.with_traceback(frames), frames)


def _without_own(frames: Optional[TracebackType]) -> Optional[TracebackType]:
    while frames is not None and _is_own(frames):
        frames = frames.tb_next
    kept = frames
    while kept is not None:
        while kept.tb_next is not None and _is_own(kept.tb_next):
            kept.tb_next = kept.tb_next.tb_next
        kept = kept.tb_next
    return frames


def _is_own(frame: TracebackType) -> bool:
    file = frame.tb_frame.f_code.co_filename
    return file in _RUNPY or os.path.dirname(file) == os.path.dirname(__file__)
