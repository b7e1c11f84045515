"""Settled days of the journal -> archives, and nothing is ever thrown away."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from config.errors import JournalCorruptError
from pipeline.site import Site

PAUSE_S = 60.0
log = structlog.get_logger("retention")


@dataclass
class Archivist:
    """Packs the journal's days once they are old enough and all their messages are settled."""

    site: Site
    clock: Callable[[], datetime]
    notice: str = ""  # one sentence on what cannot be archived, else empty
    _damaged: set[str] = field(default_factory=set)

    def once(self) -> int:
        """Archive the oldest day that can be; how many were.

        Raises:
            StoreUnavailableError, StoreFullError: the day stays as it is; call again.
        """
        before = self.clock().astimezone(UTC).date() - timedelta(days=self.site.settings.retention.archive_after_days)
        settled = min(self.site.ledger.cursors().values())
        for name in self.site.journal.closed_segments():
            if name >= before.isoformat():
                break
            if name not in self._damaged and self._archive(name, settled):
                return 1
        return 0

    def _archive(self, name: str, settled: int) -> bool:
        try:
            done = self.site.journal.archive(name, settled=settled)
        except JournalCorruptError as error:  # the others go on; it stays as it is, for somebody to look at
            self._damaged.add(name)
            self.notice = str(error)
            log.error("not archived", segment=name, reason=str(error))  # noqa: TRY400 - the reason says it
            return False
        if done:
            log.info("archived", segment=name)
        return done
