"""Ways to people, one adapter each behind one promise."""

from typing import Protocol

from config.findings import Notice


class Channel(Protocol):
    """Hands notices to people or their programs."""

    @property
    def name(self) -> str:
        """The name that notices carry in `channel`."""

    def send(self, notice: Notice) -> None:
        """Deliver one notice; return only once it is out of our hands.

        At least once: a repetition carries the same key, by which the receiver knows it.

        Raises:
            ChannelUnavailableError: it was not delivered; trying again may help.
        """
