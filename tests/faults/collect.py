"""A collector as a process to be killed: PORT FOLDER PROTOCOL, and `ack-first` for the control that must lose messages."""

import logging
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from config.settings import MqttSettings
from ingest.collector import Collector
from ingest.connection import Connection
from store.journal import Arrival, Journal


class SlowJournal(Journal):
    """A journal on a slow disk: most of the time a batch is on its way."""

    def append(self, arrivals: Sequence[Arrival]) -> list[int]:
        time.sleep(0.02)
        return super().append(arrivals)


class AcknowledgesFirst(Collector):
    """The protection switched off."""

    def _commit(self, connection: Connection) -> None:
        connection.acknowledge([packet_id for packet_id, _ in self._pending if packet_id])
        self._pending = [(0, arrival) for _, arrival in self._pending]
        super()._commit(connection)


if __name__ == "__main__":
    port, folder, protocol, *mode = sys.argv[1:]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    kind = AcknowledgesFirst if mode == ["ack-first"] else Collector
    settings = MqttSettings(port=int(port), protocol=protocol, batch_messages=100)
    kind(settings, SlowJournal(Path(folder)), stop=threading.Event()).run()
