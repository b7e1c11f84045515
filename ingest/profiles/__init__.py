"""One module for each payload format: bytes to readings."""
