"""Progress calls that cost nothing: at most a few a second."""

import time
from collections.abc import Callable

INTERVAL_S = 0.25


class Ticker:
    """Passes (done, total) on to a callback, at most four times a second and always at the end."""

    def __init__(self, callback: Callable[[int, int], None] | None, total: int) -> None:
        self._callback = callback
        self._total = total
        self._last_s = 0.0

    def tick(self, done: int) -> None:
        """Report that `done` of the total are done."""
        now_s = time.monotonic()
        if self._callback is None or (done < self._total and now_s - self._last_s < INTERVAL_S):
            return
        self._last_s = now_s
        self._callback(done, self._total)
