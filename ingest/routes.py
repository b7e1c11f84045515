"""Topic and broker identity -> enterprise, gateway, profile and zone of the sender."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from paho.mqtt.client import topic_matches_sub

from config.errors import Problem, SettingsError
from config.settings import RouteSettings
from ingest.content import Kind as Kind
from ingest.content import Sender as Sender
from ingest.mapping_file import Mapping, Names, load
from ingest.profiles import NAMES
from ingest.reasons import UndecodableError

OWN_ROOT: Final = "tce/v1/"
OWN_TOPIC: Final = re.compile(
    r"tce/v1/(?P<region>[0-9]{6})/(?P<enterprise>[0-9A-Z]{18})/(?P<gateway>[A-Za-z0-9_-]{1,64})/(?P<kind>readings|backfill|state|sandbox)"
)
PLATFORM_KINDS: Final = ("/receipts", "/requests")  # what we publish ourselves below OWN_ROOT
_REMEMBERED_TOPICS: Final = 65_536


class Routes:
    """The topics of the contract and the routes that a site has set for other formats.

    Raises:
        SettingsError: a route names a profile that does not exist, or its mapping file cannot be used; every problem is in it.
    """

    def __init__(self, routes: Sequence[RouteSettings] = ()) -> None:
        problems: list[Problem] = []
        self._routes = [(route, self._mapping(route, problems)) for route in routes]
        if problems:
            raise SettingsError(problems)
        self._cached = lru_cache(_REMEMBERED_TOPICS)(self._find)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topic filters of the routes, to subscribe to."""
        return tuple(route.topic for route, _ in self._routes)

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
            return Sender(own["enterprise"], own["gateway"], "own_json", kind, ZoneInfo("UTC"), numbered=True, topic=topic)
        if topic.startswith(OWN_ROOT):
            return None  # a route never stands in for a topic of the contract
        for route, mapping in self._routes:
            if topic_matches_sub(route.topic, topic) and route.identity in (None, identity):
                numbered = route.profile == "own_json" or (isinstance(mapping, Mapping) and mapping.numbered)
                return Sender(
                    route.enterprise, route.gateway, route.profile, "readings", ZoneInfo(route.zone), numbered, topic,
                    route.time == "arrival", route.valid, mapping,
                )
        return None

    @staticmethod
    def _mapping(route: RouteSettings, problems: list[Problem]) -> Mapping | Names | None:
        if route.profile not in NAMES:
            problems.append(Problem(f"route {route.topic}", f"there is no profile {route.profile}", f"Profiles are {', '.join(NAMES)}."))
        if route.mapping is None:
            return None
        try:
            return load(route.mapping, Mapping if route.profile == "mapping" else Names)
        except SettingsError as error:
            problems += error.problems
            return None
