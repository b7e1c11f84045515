"""Bytes of messages as people can read them."""

from typing import Final

RAW_SHOWN: Final = 4096


def readable(raw: bytes) -> dict[str, str]:
    """Bytes as text where they are printable UTF-8, else as lines of hexadecimal.

    >>> readable(bytes([97, 0]))
    {'hex': '00000000  61 00'}
    """
    text = raw.decode("utf-8", "ignore") if len(raw) == RAW_SHOWN else None  # a cut may have hit the middle of a character
    try:
        text = text if text is not None and raw.startswith(text.encode()) else raw.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if text is not None and all(char.isprintable() or char in "\r\n\t" for char in text):
        return {"text": text}
    return {"hex": "\n".join(f"{at:08x}  {raw[at : at + 16].hex(' ')}" for at in range(0, len(raw), 16))}
