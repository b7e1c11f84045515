"""Broker -> journal, and receipts back. The work itself is ingest's; here it gets a site's adapters."""

import threading

from ingest.collector import Collector
from ingest.gateways import ReceiptPublisher
from pipeline.site import Site


def collector(site: Site, stop: threading.Event) -> Collector:
    """The collector of a site, subscribed to the contract's topics and those of its routes."""
    topics = tuple(dict.fromkeys((*site.settings.mqtt.topics, *(route.topic for route in site.settings.routes))))
    return Collector(site.settings.mqtt.model_copy(update={"topics": topics}), site.journal, stop=stop)


def receipts(site: Site) -> ReceiptPublisher:
    """Tells the gateways what became of their messages."""
    def regions() -> dict[tuple[str, str], str]:
        rows = site.register.gateways().select("enterprise", "gateway", "region").iter_rows()
        return {(enterprise, gateway): region for enterprise, gateway, region in rows}

    return ReceiptPublisher(site.settings.mqtt, site.ledger, site.quarantine, site.journal, regions=regions)
