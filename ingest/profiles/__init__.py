"""The payload formats that are read, by name: `profile` of a route, `--profile` of `tcewatch decode`.

A format that a mapping file can say is a file beside this one; the others are modules.
"""

from typing import Final

from ingest.content import Content, Profile, Sender, StatefulProfile
from ingest.profiles import mapping, nhjc, own_json, sparkplug_b

MAPPED: Final = ("kpm33b", "edgelogger", "neuron_tags", "neuron_values", "shelly", "shelly_gen1", "wmbusmeters")


def _mapped(name: str) -> Profile:
    def read(payload: bytes, sender: Sender) -> Content:
        return mapping.read_as(mapping.shipped(name), payload, sender)

    return read


PROFILES: Final[dict[str, Profile]] = {
    "own_json": own_json.read, "nhjc": nhjc.read, "mapping": mapping.read, **{name: _mapped(name) for name in MAPPED},
}
STATEFUL: Final[dict[str, StatefulProfile]] = {"sparkplug_b": sparkplug_b.read}
NAMES: Final = (*PROFILES, *STATEFUL)
