"""The control of the kill test: `tcewatch` with acknowledgement before the commit, as it must never be."""

import paho.mqtt.client as mqtt

from portal.cli.main import main

original = mqtt.Client.__init__


def automatic(self: mqtt.Client, *args: object, **named: object) -> None:
    original(self, *args, **(named | {"manual_ack": False}))  # type: ignore[arg-type]


mqtt.Client.__init__ = automatic  # type: ignore[method-assign,assignment]
main()
