"""Messages that come in by other doors than the broker."""

import threading

from store.journal import Arrival, Journal


class SharedCommit:
    """Appends to a journal; messages that come while another is being committed share the next transaction."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: list[_Entry] = []
        self._queueing, self._committing = threading.Lock(), threading.Lock()

    def append(self, arrival: Arrival) -> int:
        """The id of the message, once it is durable.

        Raises:
            StoreFullError, StoreUnavailableError: it was not kept.
        """
        entry = _Entry(arrival)
        with self._queueing:
            self._waiting.append(entry)
        with self._committing:
            if not entry.is_done:
                self._commit()
        if entry.error is not None:
            raise entry.error
        return entry.message

    def _commit(self) -> None:
        with self._queueing:
            entries, self._waiting = self._waiting, []
        try:
            ids = self._journal.append([entry.arrival for entry in entries])
        except Exception as error:  # noqa: BLE001 - each of those that wait raises it
            for entry in entries:
                entry.error, entry.is_done = error, True
            return
        for entry, message in zip(entries, ids, strict=True):
            entry.message, entry.is_done = message, True


class _Entry:
    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.message = 0
        self.error: Exception | None = None
        self.is_done = False
