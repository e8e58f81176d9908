"""When a step was called: at most some hundred calls, spread over all of them."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Sequence, Tuple

MAX_CALLS = 256


class Call(NamedTuple):
    """A call of a step.

    Attributes:
      number: of the call, among those of all steps of the graph, from 1.
      time: seconds since 1970.
      runs: how often the step had been called by then, including this call.
    """

    number: int
    time: float
    runs: int


class CallHistory:
    """The calls of one step; of many calls only every second, fourth, ... is kept, and the last."""

    def __init__(self) -> None:
        self._kept: List[Call] = []
        self._last: Tuple[Call, ...] = ()
        self._stride = 1

    def add(self, call: Call) -> None:
        """Add a call, later than those before."""
        self._last = (call,)
        if (call.runs - 1) % self._stride == 0:
            self._kept.append(call)
            if len(self._kept) > MAX_CALLS:
                self._stride *= 2
                del self._kept[1::2]

    @property
    def calls(self) -> Tuple[Call, ...]:
        """The calls that are kept, in their order."""
        is_kept = self._kept[-1:] == list(self._last)
        return (*self._kept, *(() if is_kept else self._last))


def merged(histories: Sequence[CallHistory]) -> Tuple[Call, ...]:
    """Return the calls of several steps as those of one; `runs` counts them all."""
    calls = sorted((call, index) for index, each in enumerate(histories) for call in each.calls)
    runs: Dict[int, int] = {}
    total = []
    for call, index in calls:
        runs[index] = call.runs
        total.append(call._replace(runs=sum(runs.values())))
    stride = -(-(len(total) - 1) // (MAX_CALLS - 1)) or 1
    return (*total[:-1:stride], *total[-1:])
