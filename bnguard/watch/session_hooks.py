"""See every step of every session, from the moment that the program imports TensorFlow.

`Session.run` and `partial_run` look up the method `_run` with their arguments in local variables.
A descriptor in its place sees these arguments and returns the method itself, so that a failing step
has the same traceback as without. All other sessions, and Estimator, run steps by these two, except
for callables, which are wrapped.
"""

from __future__ import annotations

from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
from inspect import unwrap
import sys
from types import ModuleType
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Optional, Tuple

from bnguard.watch.program import launcher_files

Observer = Callable[[Any, Any, Any], None]
"""Takes the session, the fetches and the feeds of each step before it runs."""

_MAX_HANDLES = 64  # of partial runs whose feeds are kept, as nothing tells when one is over
_MODULES = ("tensorflow.python.client.session", "tensorflow_core.python.client.session")


class SessionHooks:
    """What replaces methods of the class of sessions.

    Args:
      observer: is called before each step.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._replaced: List[Tuple[type, str, Any]] = []

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Replace the methods in the block, now or when TensorFlow is imported."""
        finder = _Finder(self._install)
        for name in _MODULES:
            if name in sys.modules:
                self._install(sys.modules[name])
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            if finder in sys.meta_path:
                sys.meta_path.remove(finder)
            self.remove()

    def remove(self) -> None:
        """Put the methods back; the program then runs at its full speed."""
        for owner, name, method in self._replaced:
            setattr(owner, name, method)
        self._replaced.clear()

    def _install(self, module: ModuleType) -> None:
        _hide_launcher(sys.modules[module.__name__.replace("client.session", "util.tf_stack")])
        session = module.BaseSession
        self._replace(session, "_run", _LookedUp(session, self._observer))
        self._replace(session, "make_callable", self._observed_callable(session.make_callable))
        if hasattr(session, "_make_callable_from_options"):
            method = session._make_callable_from_options
            self._replace(session, "_make_callable_from_options", self._observed_options(method))

    def _replace(self, owner: type, name: str, method: Any) -> None:
        self._replaced.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, method)

    def _observed_callable(self, make_callable: Any) -> Any:
        def make_observed(
            session: Any, fetches: Any, feed_list: Any = None, *args: Any, **kw: Any
        ) -> Any:
            made = make_callable(session, fetches, feed_list, *args, **kw)
            if feed_list is not None:  # that calls session.run
                return made
            return _ObservedCallable(made, lambda: self._observer(session, fetches, None))

        return make_observed

    def _observed_options(self, make_callable: Any) -> Any:
        """Return the replacement for what Keras' functions and `tf.data` call."""

        def make_observed(session: Any, callable_options: Any) -> Any:
            made = make_callable(session, callable_options)
            fetches = [*callable_options.fetch, *callable_options.target]
            feeds = list(callable_options.feed)

            def call(*args: Any, **kw: Any) -> Any:
                self._observer(session, fetches, dict(zip(feeds, args)))
                return made(*args, **kw)

            return call

        return make_observed


def _hide_launcher(tf_stack: ModuleType) -> None:
    """Leave the frames that started the program out of the stacks that TensorFlow records."""
    files = launcher_files()

    class Filter(tf_stack.StackTraceFilter):  # type: ignore[misc, name-defined]
        """TensorFlow's own means, per thread, to leave frames out."""

        def get_filtered_filenames(self) -> FrozenSet[str]:
            return files

    Filter().__enter__()


class _ObservedCallable:
    """A callable that tells when it is looked up to be called, and leaves no frame of its own."""

    def __init__(self, made: Any, observe: Callable[[], None]) -> None:
        self._made = made
        self._observe = observe

    @property
    def __call__(self) -> Any:
        self._observe()
        return self._made


class _LookedUp:
    """The method `_run`, which tells the arguments of its caller when it is looked up.

    Args:
      session: the class of sessions.
      observer: is called with them.
    """

    def __init__(self, session: Any, observer: Observer) -> None:
        self._method = session._run
        self._observer = observer
        self._run = session.run.__code__
        self._partial_run = unwrap(session.partial_run).__code__
        self._fed: Dict[Any, Dict[Any, Any]] = {}  # by earlier calls with the handle

    def __get__(self, session: Any, owner: Optional[type] = None) -> Any:
        if session is not None:
            caller = sys._getframe(1)
            if caller.f_code is self._run:
                variables: Dict[str, Any] = caller.f_locals
                self._observer(session, variables["fetches"], variables["feed_dict"])
            elif caller.f_code is self._partial_run:
                variables = caller.f_locals
                feed = self._fed_so_far(variables["handle"], variables["feed_dict"])
                self._observer(session, variables["fetches"], feed)
        return self._method.__get__(session, owner)

    def _fed_so_far(self, handle: Any, feed: Any) -> Dict[Any, Any]:
        """Return what all calls with a handle have fed; of earlier calls only the scalars."""
        from bnguard.guard.run_key import fed_scalar  # TensorFlow, which is imported by now

        fed = {**self._fed.pop(handle, {}), **(feed or {})}
        while len(self._fed) >= _MAX_HANDLES:
            del self._fed[next(iter(self._fed))]
        self._fed[handle] = {key: fed_scalar(value) for key, value in fed.items()}
        return fed


class _Finder(MetaPathFinder):
    """Calls a function with the module of sessions when it has been imported."""

    def __init__(self, imported: Callable[[ModuleType], None]) -> None:
        self._imported = imported

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname not in _MODULES:
            return None
        sys.meta_path.remove(self)  # so that the others find it
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._imported)
        return spec


class _Loader(Loader):
    def __init__(self, loader: Any, imported: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._imported = imported

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._imported(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
