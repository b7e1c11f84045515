"""From the broker to an accepted reading. The only folder that speaks MQTT."""
