"""Names that are meant where a name that is written is not known."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

MOST: Final = 3


def nearest(written: str, known: Iterable[str] | Mapping[str, str], cutoff: float = 0.6) -> list[str]:
    """The codes whose names are spelled nearly as it is written, best first: one where only capitals, spaces or hyphens differ.

    Args:
        written: what is not known.
        known: the codes, or further names (in Chinese, say) with the code that each stands for.
        cutoff: how alike the names have to be, from 0 to 1.

    >>> nearest("Raw coal", ["raw_coal", "coke"]), nearest("原煤", {"原煤": "raw_coal"}), nearest("electricty", ["electricity", "heat"])
    (['raw_coal'], ['raw_coal'], ['electricity'])
    """
    names = dict(known) if isinstance(known, Mapping) else {name: name for name in known}
    plain = {_plain(name): code for name, code in names.items()}
    asked = _plain(written)
    if asked in plain:
        return [plain[asked]]
    return list(dict.fromkeys(plain[name] for name in get_close_matches(asked, plain, n=MOST, cutoff=cutoff)))


def near_it(written: str, known: Iterable[str] | Mapping[str, str]) -> str:
    """The nearest codes as the beginning of a sentence on what would be right; empty where there is none.

    >>> near_it("cokee", ["coke", "heat"])
    'Near it is coke; '
    """
    found = nearest(written, known)
    return f"Near it {'is' if len(found) == 1 else 'are'} {', '.join(found)}; " if found else ""


def folded(text: str) -> str:
    """A name as it is compared: without spaces around it, in lower case."""
    return text.strip().lower()


def _plain(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")
