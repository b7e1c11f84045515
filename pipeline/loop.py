"""Work done again and again until told to stop; a store that is away is waited for, without end."""

import threading
from collections.abc import Callable

import structlog

from config.errors import ServiceUnavailableError, StoreFullError

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0


class Loop:
    """Calls `once` again and again with a pause in between; without one where more waits (asked with what `once` gave).

    What cannot be reached, or a full disk, is told once and tried again at growing intervals. Anything else ends the loop.
    """

    def __init__(self, name: str, once: Callable[[], int | None], pause_s: float, *, more: Callable[[int], bool] = lambda _worked: False) -> None:
        self._once, self._pause_s, self._more = once, pause_s, more
        self._log = structlog.get_logger(name)
        self.problem = ""  # one sentence on what keeps it from its work, else empty

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop."""
        wait_s = FIRST_WAIT_S
        while not stop.is_set():
            try:
                worked = self._once() or 0
            except (ServiceUnavailableError, StoreFullError) as error:
                if str(error) != self.problem:
                    self._log.warning("waiting", reason=str(error))
                self.problem = str(error)
                stop.wait(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
                continue
            if self.problem:
                self._log.info("resumed")
            self.problem, wait_s = "", FIRST_WAIT_S
            if not self._more(worked):
                stop.wait(self._pause_s)
