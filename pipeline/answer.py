"""What the platform says to gateways: receipts, requests for back-fill, commands."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import chain

from ingest.gateways import ReceiptPublisher, talk
from ingest.requests import BackfillRequester, CommandPublisher
from ingest.sandbox import answers
from pipeline.quality import windows
from pipeline.site import Site
from store.journal import Message


def speaking(site: Site) -> Callable[[threading.Event], None]:
    """What the platform says to gateways until told to stop: receipts, requests for back-fill, commands."""
    requests = BackfillRequester(site.fleet, site.ledger, regions=partial(_regions, site), windows=partial(windows, site))
    parts = (receipts(site).once, requests.once, CommandPublisher(site.fleet).once)
    return partial(talk, site.settings.mqtt, parts)


def receipts(site: Site) -> ReceiptPublisher:
    """Tells the gateways what became of their messages."""
    def sandbox(messages: Iterator[Message]) -> list[tuple[str, bytes]]:
        if (first := next(messages, None)) is None:
            return []
        settings = site.settings
        return answers(
            chain([first], messages), site.register.registers(history=True), settings.screen, max_payload_bytes=settings.mqtt.max_payload_bytes,
            regions=_regions(site), at=datetime.now(UTC),
        )

    return ReceiptPublisher(site.settings.mqtt, site.ledger, site.quarantine, site.journal, regions=partial(_regions, site), sandbox=sandbox)


def _regions(site: Site) -> dict[tuple[str, str], str]:
    rows = site.register.gateways().select("enterprise", "gateway", "region").iter_rows()
    return {(enterprise, gateway): region for enterprise, gateway, region in rows}
