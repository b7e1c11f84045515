"""The payload formats that are read, by name: `profile` of a route, `--profile` of `tcewatch decode`."""

from typing import Final

from ingest.content import Profile, StatefulProfile
from ingest.profiles import kpm33b, own_json

PROFILES: Final[dict[str, Profile]] = {"own_json": own_json.read, "kpm33b": kpm33b.read}
STATEFUL: Final[dict[str, StatefulProfile]] = {}
