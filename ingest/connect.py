"""The connection that fits the settings."""

from collections.abc import Callable

from config.settings import MqttSettings
from ingest.connection import Connection, Received
from ingest.connection_v5 import ConnectionV5
from ingest.connection_v311 import ConnectionV311


def connection_to(
    settings: MqttSettings, client_id: str, *, session_expiry_s: int = 0, receive_maximum: int = 1000,
    on_message: Callable[[Received], None] = lambda _: None, enough: Callable[[], bool] = lambda: False,
) -> Connection:
    """A connection for the protocol of the settings, not open yet; the arguments are those of Connection."""
    kind = ConnectionV5 if settings.protocol == "5" else ConnectionV311
    return kind(settings, client_id, session_expiry_s=session_expiry_s, receive_maximum=receive_maximum, on_message=on_message, enough=enough)
