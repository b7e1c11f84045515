"""Broker -> journal. The work itself is ingest's; here it gets a site's adapters."""

import threading

from config.settings import Settings
from ingest.collector import Collector
from pipeline.site import Site
from store.journal import HISTORY


def collectors(site: Site, stop: threading.Event) -> tuple[Collector, Collector]:
    """The live session of a site, with the topics of its routes, and the one for history."""
    live = Collector(site.settings.mqtt, site.journal, stop=stop, routes=routed(site.settings))
    return live, Collector(site.settings.mqtt, site.journal, stop=stop, lane=HISTORY)


def routed(settings: Settings) -> tuple[str, ...]:
    """The topic filters of a site's routes."""
    return tuple(route.topic for route in settings.routes)
