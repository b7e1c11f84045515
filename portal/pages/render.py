"""Templates in two languages, numbers rounded for display, instants in the site's zone."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache, partial
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from alerts import compose
from alerts.compose import display, rounded
from config.phrases import chinese
from config.units import factor
from portal.auth import Session
from portal.context import language_of, portal_of
from portal.i18n import Language, term, translations

NOTHING: Final = "—"
STATIC: Final = files("portal") / "static"
_CODE: Final = re.compile(r"(?<![\w`])[a-z][a-z0-9_]+(?![\w`])", re.ASCII)


def page(
    request: Request, template: str, session: Session | None, context: Mapping[str, Any] | None = None, *, status: int = 200,
) -> HTMLResponse:
    """One page, or one live part of a page, in the reader's language."""
    portal, language = portal_of(request), language_of(request)
    zone = portal.site.settings.zone
    shared = {
        "request_path": request.url.path, "here": quote(request.url.path + (f"?{request.url.query}" if request.url.query else ""), safe=""),
        "language": language, "user": session.principal if session else None,
        "form_token": portal.door.form_token(session.nonce) if session else "",
        "site_name": portal.site.settings.site.name_zh if language == "zh" else portal.site.settings.site.name_en,
        "now": portal.clock(), "zone_name": str(zone),
        "moment": partial(moment, zone=zone), "age": partial(age, now=portal.clock(), language=language),
    }
    return HTMLResponse(environment(language).get_template(template).render({**shared, **(context or {})}), status_code=status)


@cache
def environment(language: Language) -> Environment:
    """Jinja with escaping on, in one language; an unknown name is a fault, never an empty text."""
    templates = Environment(
        loader=PackageLoader("portal", "templates"), autoescape=True, undefined=StrictUndefined, extensions=["jinja2.ext.i18n"],
        trim_blocks=True, lstrip_blocks=True,
    )
    templates.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]  # added by the extension
    templates.filters |= {
        "number": number, "percent": percent, "full": full, "converted": converted, "short": short,
        "unit": partial(unit_text, language=language), "reason": partial(reason, language), "sourced": partial(sourced, language), "span": span,
    }
    templates.globals |= {"static": static, "word": partial(term, language), "named": partial(named, language)}
    return templates


@cache
def static(name: str) -> str:
    """The address of a static file; it changes with the content, so that browsers may keep the file."""
    return f"/static/{name}?v={sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def number(value: float | None, digits: int | None = None, beside: float | None = None) -> str:
    """A number for reading: rounded by GB/T 8170; without `digits` about four figures, more where it would else look equal to `beside`.

    >>> number(26229.324), number(12.25, 1), number(None)
    ('26,229', '12.2', '—')
    """
    if value is None:
        return NOTHING
    if value == 0 and digits is None:
        return "0"
    return rounded(value, digits) if digits is not None else display(value, beside)


def percent(ratio: float | None, beside: float | None = None) -> str:
    """A share as a percentage.

    >>> percent(0.9876), percent(None)
    ('98.8 %', '—')
    """
    return NOTHING if ratio is None else compose.percent(ratio, beside)


def full(value: float | None) -> str:
    """A number with all its figures, for the line that says where it comes from."""
    return NOTHING if value is None else f"{value:,.12g}"


def short(name: str) -> str:
    """A name without what it says in brackets.

    >>> short("焦炭（干全焦）"), short("coke (dry)")
    ('焦炭', 'coke')
    """
    return name.split("（")[0].split(" (")[0]


def unit_text(unit: str | None, language: Language = "en") -> str:
    """A unit code as people write it.

    >>> unit_text("10^4 m3"), unit_text("Nm3"), unit_text("tce/10^4 CNY", "zh")
    ('10⁴ m³', 'Nm³', 'tce/万元')
    """
    said = (unit or "").replace("10^4 CNY", "万元").replace("CNY", "元") if language == "zh" else unit or ""
    return said.replace("10^4", "10⁴").replace("10^6", "10⁶").replace("m3", "m³").replace("m2", "m²").replace("CO2", "CO₂")


def converted(value: float | None, unit: str, to: str) -> float | None:
    """A quantity in a larger or smaller unit, by definition."""
    by = factor(unit, to)
    return None if value is None or by is None else value * by


def moment(instant: datetime | date | None, form: str = "%Y-%m-%d %H:%M", *, zone: ZoneInfo) -> str:
    """An instant in the site's zone; a day as it is."""
    if instant is None:
        return NOTHING
    return instant.astimezone(zone).strftime(form) if isinstance(instant, datetime) else instant.isoformat()


def age(instant: datetime | None, *, now: datetime, language: Language) -> str:
    """How long ago an instant was, in words."""
    if instant is None:
        return NOTHING
    seconds = (now - instant).total_seconds()
    text = translations(language)
    if seconds < 0:
        return str(text.ugettext("just now"))
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {text.upgettext('ago', unit)}"
    return f"{int(seconds)} {text.upgettext('ago', 'second')}" if seconds >= 1 else str(text.ugettext("just now"))


def reason(language: Language, said: str | None) -> str:
    """Why a figure is empty, in the reader's language; carriers by name.

    >>> reason("zh", "diesel: no quantity in 2025"), reason("en", None)
    ('柴油：2025 没有数量', '')
    """
    return _CODE.sub(lambda found: term(language, "carrier", found[0]), chinese(said)) if said and language == "zh" else said or ""


def span(period: str | None) -> str:
    """A period from one day, month or instant to another, as people write it.

    >>> span("2025-01..2026-03"), span("2026-02-01/2026-03-09"), span("2026-02-01T00:00"), span("2025")
    ('2025-01 – 2026-03', '2026-02-01 – 2026-03-09', '2026-02-01 00:00', '2025')
    """
    return (period or "").replace("..", " – ").replace("/", " – ").replace("T", " ")


def sourced(language: Language, source: str | None) -> str:
    """Where a figure comes from, in the reader's language; what the shipped tables do not say stays as it was written.

    >>> sourced("zh", "a letter; GB/T 2589-2020 app. A"), sourced("en", None)
    ('a letter；GB/T 2589-2020 附录A', '')
    >>> sourced("zh", "No. 12, spread evenly over the days of operation (assumption of tcewatch)")
    'No. 12，按投产后天数均摊（tcewatch 的假定）'
    """
    if language == "en" or not source:
        return source or ""
    parts, said = source.split("; "), []
    while parts:
        most = (end for end in range(len(parts), 1, -1) if term(language, "source", whole := "; ".join(parts[:end])) != whole)
        end = next(most, 1)
        found = term(language, "source", "; ".join(parts[:end]))
        said.append(found if found != parts[0] else chinese(parts[0]))
        parts = parts[end:]
    return "；".join(said)


def named(language: Language, row: Mapping[str, Any], stem: str = "name") -> str:
    """The text of a row in the reader's language, or in the other one where that is all there is."""
    first, second = (f"{stem}_zh", f"{stem}_en") if language == "zh" else (f"{stem}_en", f"{stem}_zh")
    return str(row.get(first) or row.get(second) or "")
