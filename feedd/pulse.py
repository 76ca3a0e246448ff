"""The beats of the loops that do the work -> which of them fell silent.

Each loop says `beat` as it turns, within long work too, and how long it is going to rest; nobody beats in its stead, so
that a loop that hangs or has ended is seen. What is made of silence is for others: the service manager's watchdog, the
health of the web. Built by the daemon's life; beats come from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

Beat = Callable[[float], object]
"""Called by a loop as it turns, with the seconds that it is going to rest at most: 0 while it works."""


def unheard(_rest_s: float) -> None:
    """The beat of a loop that nobody listens to."""


class Pulse:
    """`limits`: by loop, the seconds of silence after which it counts as silent; `clock`: monotonic seconds.

    The first beat of each is this object's making: a loop that never begins falls silent, too.
    """

    def __init__(self, limits: Mapping[str, float], clock: Callable[[], float]) -> None:
        self._limits, self._clock = dict(limits), clock
        began = clock()
        self._due = {name: began + limit_s for name, limit_s in limits.items()}  # each is written by its loop alone

    def beat(self, name: str, rest_s: float = 0.0) -> None:
        """The loop turns; it will again after `rest_s` and less than its limit. A tenth of a microsecond's cost."""
        self._due[name] = self._clock() + rest_s + self._limits[name]

    def silent(self, now: float) -> tuple[str, ...]:
        """The loops that should have beaten before `now` (seconds of the clock), in the order of `limits`."""
        return tuple(name for name, due in self._due.items() if due < now)
