"""Topic and broker identity -> enterprise, gateway, profile and zone of the sender."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

from paho.mqtt.client import topic_matches_sub

from config.settings import RouteSettings
from ingest.reasons import UndecodableError

Kind = Literal["readings", "backfill", "state", "sandbox"]
OWN_ROOT: Final = "tce/v1/"
OWN_TOPIC: Final = re.compile(
    r"tce/v1/(?P<region>[0-9]{6})/(?P<enterprise>[0-9A-Z]{18})/(?P<gateway>[A-Za-z0-9_-]{1,64})/(?P<kind>readings|backfill|state|sandbox)"
)
PLATFORM_KINDS: Final = ("/receipts", "/requests")  # what we publish ourselves below OWN_ROOT
_REMEMBERED_TOPICS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Sender:
    """Who speaks on a topic, and in which format."""

    enterprise: str
    gateway: str
    profile: str
    kind: Kind
    zone: ZoneInfo
    numbered: bool  # the format has epoch and seq, so that gaps are seen


class Routes:
    """The topics of the contract and the routes that a site has set for other formats."""

    def __init__(self, routes: Sequence[RouteSettings] = ()) -> None:
        self._routes = tuple(routes)
        self._cached = lru_cache(_REMEMBERED_TOPICS)(self._find)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topic filters of the routes, to subscribe to."""
        return tuple(route.topic for route in self._routes)

    def sender(self, topic: str, identity: str | None) -> Sender:
        """Who sent a message.

        Raises:
            UndecodableError: `unknown_topic`: neither a topic of the contract nor one of a route.
        """
        found = self._cached(topic, identity)
        if found is None:
            raise UndecodableError("unknown_topic")
        return found

    def _find(self, topic: str, identity: str | None) -> Sender | None:
        if own := OWN_TOPIC.fullmatch(topic):
            kind: Kind = own["kind"]  # type: ignore[assignment]  # the pattern allows no other
            return Sender(own["enterprise"], own["gateway"], "own_json", kind, ZoneInfo("UTC"), numbered=True)
        if topic.startswith(OWN_ROOT):
            return None  # a route never stands in for a topic of the contract
        for route in self._routes:
            if topic_matches_sub(route.topic, topic) and route.identity in (None, identity):
                return Sender(route.enterprise, route.gateway, route.profile, "readings", ZoneInfo(route.zone), numbered=route.profile == "own_json")
        return None
