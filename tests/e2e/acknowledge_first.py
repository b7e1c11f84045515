"""The control of the kill test: `tcewatch` that acknowledges on arrival, before the commit, as it must never be."""

from ingest.collector import Collector
from ingest.connection import Connection
from portal.cli.main import main

original = Collector._advance


def advance(self: Collector, connection: Connection) -> None:
    original(self, connection)
    connection.acknowledge([packet_id for packet_id, _ in self._pending if packet_id])
    self._pending = [(0, arrival) for _, arrival in self._pending]


Collector._advance = advance  # type: ignore[method-assign]
main()
