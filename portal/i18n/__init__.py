"""The two languages of the pages: Babel catalogues, compiled in memory at start (no binary lies in the repository)."""

from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Final, Literal

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations

from config import coal_equivalents
from config.budgets import MEASURE_NAMES
from ingest.reasons import REASONS

Language = Literal["zh", "en"]
LANGUAGES: Final[tuple[Language, ...]] = ("zh", "en")


@cache
def translations(language: Language) -> Translations:
    """The catalogue of a language; message ids are the English texts, codes have the context of their kind."""
    catalogue = read_po(BytesIO((files(__name__) / f"{language}.po").read_bytes()), locale=language)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


def as_language(text: str | None, default: Language) -> Language:
    """A language that we have, else the default."""
    return text if text in LANGUAGES else default


def term(language: Language, kind: str, code: str | None) -> str:
    """The word for a code: a verdict, a standing, a medium, a carrier, a reason; a code without a word stands for itself."""
    if code is None:
        return ""
    found = str(translations(language).upgettext(kind, code))
    if found == code and kind in {"carrier", "reason", "measure"}:
        texts = (_carriers() if kind == "carrier" else REASONS if kind == "reason" else MEASURE_NAMES).get(code)
        return code if texts is None else texts[LANGUAGES.index(language)]
    return found


@cache
def _carriers() -> dict[str, tuple[str, str]]:
    """Names of carriers in LANGUAGES, as the shipped table of coefficients has them.

    Where each basis has a name of its own (electricity, heat), the catalogues name the carrier.
    """
    names: dict[str, set[tuple[str, str]]] = {}
    for row in coal_equivalents.coefficient_rows():
        names.setdefault(row.carrier, set()).add((row.name_zh or row.carrier, row.name_en or row.carrier))
    return {carrier: texts.pop() for carrier, texts in names.items() if len(texts) == 1}
