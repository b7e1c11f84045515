"""Outbox -> channels, at least once, with the same key at every try."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from alerts.channels import Channel
from config.errors import ChannelUnavailableError
from pipeline.site import Site

BATCH = 100
PAUSE_S = 1.0
FIRST_RETRY_S, LONGEST_RETRY_S = 5.0, 3600.0
log = structlog.get_logger("send")


@dataclass
class Sender:
    """Delivers queued notices; a failed one is tried again later, never dropped."""

    site: Site
    channels: Mapping[str, Channel]
    clock: Callable[[], datetime]

    def once(self) -> int:
        """Try every notice that is due; how many were delivered."""
        delivered = 0
        for queued in self.site.outbox.due(self.clock(), BATCH):
            try:
                self._channel(queued.notice.channel).send(queued.notice)
            except ChannelUnavailableError as error:
                wait_s = min(FIRST_RETRY_S * 2**queued.tries, LONGEST_RETRY_S) * random.uniform(0.8, 1.2)
                self.site.outbox.failed(queued.id, str(error), self.clock() + timedelta(seconds=wait_s))
                log.warning("not delivered", notice=queued.notice.key, tries=queued.tries + 1, reason=str(error))
            else:
                self.site.outbox.delivered(queued.id, self.clock())
                delivered += 1
        return delivered

    def _channel(self, name: str) -> Channel:
        if name not in self.channels:
            raise ChannelUnavailableError(name, "settings", "it is not among [alerts] channels")
        return self.channels[name]
