"""Add-ons to the price of electricity, as dated schemes: by excess over a limit, by unit consumption, by catalogue class, by grade."""

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import polars as pl
from pydantic import Field, StringConstraints, model_validator

from config import schemas
from config.errors import BadInputError, Problem
from config.tables import Code, Confidence, Number, Source, TableRow, Text, framed, load

_MEET: Final = "Let one step end where the next begins: up_to with above, below with from_value."
SCALES: Final = ("excess", "consumption")  # kinds whose steps are spans of a number
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PriceStepRow(TableRow):
    """One step of an edition of a scheme; an add-on that the document does not state is empty, a row without valid_from never in force.

    `from_value` and `up_to` belong to the step, `above` and `below` do not. `per_started`: the add-on counts once for every started unit of
    that size above `above`.
    """

    scheme: Code
    kind: Literal["excess", "consumption", "class", "grade"]
    edition: Text
    step: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
    category: Code | None = None
    from_value: Number | None = None
    above: Number | None = None
    up_to: Number | None = None
    below: Number | None = None
    unit: Literal["ratio", "kWh/t"] | None = None
    indicator: Code | None = None
    addon_cny_per_kwh: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    per_started: Positive | None = None
    unpaid_days_above: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    unpaid_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    renewable_above_ratio: Share | None = None
    renewable_cut_ratio: Share | None = None
    incentive_ratio: Share | None = None
    name_zh: Text
    name_en: Text | None = None
    valid_from: date | None = None
    valid_to: date | None = None
    source: Source
    confidence: Confidence
    remark: str = ""

    @property
    def key(self) -> tuple[str, date | None, str]:
        return self.scheme, self.valid_from, self.step

    def holds_on(self, day: date) -> bool:
        return self.valid_from is not None and super().holds_on(day)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.valid_to is not None and self.valid_from is None:
            raise ValueError(f"valid_to {self.valid_to} needs a valid_from")
        if self.kind in SCALES:
            if self.category is not None or self.unit != {"excess": "ratio", "consumption": "kWh/t"}[self.kind]:
                raise ValueError("a step by excess has the unit ratio, one by consumption kWh/t, and neither a category")
            if (self.from_value is not None and self.above is not None) or (self.up_to is not None and self.below is not None):
                raise ValueError("a bound stands once: from_value or above, up_to or below")
            low, high = self.lower, self.upper
            if low is not None and high is not None and (low[0] > high[0] or (low[0] == high[0] and not (low[1] and high[1]))):
                raise ValueError(f"the step from {low[0]:g} to {high[0]:g} is empty")
        elif self.category is None or self.lower is not None or self.upper is not None:
            raise ValueError(f"a step by {self.kind} has a category and no bounds")
        if self.per_started is not None and self.above is None:
            raise ValueError("per_started needs above: what is started is counted from there")
        if (self.unpaid_days_above is None) != (self.unpaid_factor is None):
            raise ValueError("unpaid_days_above and unpaid_factor belong together")
        if (self.renewable_above_ratio is None) != (self.renewable_cut_ratio is None):
            raise ValueError("renewable_above_ratio and renewable_cut_ratio belong together")
        return self

    @property
    def lower(self) -> tuple[float, bool] | None:
        """The lower bound and whether it belongs to the step."""
        return (self.from_value, True) if self.from_value is not None else (self.above, False) if self.above is not None else None

    @property
    def upper(self) -> tuple[float, bool] | None:
        """The upper bound and whether it belongs to the step."""
        return (self.up_to, True) if self.up_to is not None else (self.below, False) if self.below is not None else None


MODELS: Final[dict[str, type[TableRow]]] = {"price_schemes": PriceStepRow}


def price_schemes(site_dir: Path | None = None) -> pl.DataFrame:
    """The steps of all schemes as PRICE_STEP; an edition holds until its valid_to, or until the next edition of its scheme begins.

    An edition of the site's folder replaces the shipped one that begins on the same day.

    Raises:
        BadInputError: rows that do not fit, all of them; steps of an edition that leave a gap, overlap or are of several kinds.

    >>> price_schemes().filter(scheme="by_excess")["addon_cny_per_kwh"].to_list()
    [0.0, 0.1, 0.3]
    """
    base, own = load("price_schemes", PriceStepRow, site_dir)
    replaced = {(row.scheme, row.valid_from) for row in own}
    rows = [row for row in base if (row.scheme, row.valid_from) not in replaced] + own
    if problems := list(_edition_problems(rows)):
        raise BadInputError(problems)
    ends = _ends(rows)
    return framed(rows, schemas.PRICE_STEP).with_columns(valid_to=pl.Series([ends[row.scheme, row.valid_from] for row in rows], dtype=pl.Date))


def _ends(rows: Sequence[PriceStepRow]) -> dict[tuple[str, date | None], date | None]:
    ends: dict[tuple[str, date | None], date | None] = {(row.scheme, row.valid_from): row.valid_to for row in rows}
    dated = sorted((scheme, start) for scheme, start in ends if start is not None)
    for (scheme, start), (following, begin) in pairwise(dated):
        if scheme == following:
            end = ends[scheme, start]
            ends[scheme, start] = begin if end is None else min(end, begin)
    return ends


def _edition_problems(rows: Sequence[PriceStepRow]) -> Iterable[Problem]:
    def edition(row: PriceStepRow) -> tuple[str, str]:
        return row.scheme, str(row.valid_from)

    for (scheme, start), group in groupby(sorted(rows, key=edition), key=edition):
        steps = list(group)
        where = f"price_schemes {scheme} from {start}"
        if len({(row.kind, row.edition, row.unit, row.indicator, row.valid_to) for row in steps}) > 1:
            yield Problem(where, "its steps differ in kind, edition, unit, indicator or valid_to", "Write these alike in all steps of an edition.")
        elif steps[0].kind in SCALES:
            yield from _scale_problems(where, sorted(steps, key=lambda row: (row.lower is not None, row.lower or (0.0, False))))
        else:
            for category, several in groupby(sorted(steps, key=attrgetter("category")), key=attrgetter("category")):
                if len(list(several)) > 1:
                    yield Problem(where, f"{category} stands twice", "Keep one step for a category.")


def _scale_problems(where: str, steps: Sequence[PriceStepRow]) -> Iterable[Problem]:
    if steps[0].lower is not None or steps[-1].upper is not None:
        yield Problem(where, "its steps do not reach from the least to the greatest value", "Leave the first step open below, the last above.")
    for one, following in pairwise(steps):
        high, low = one.upper, following.lower
        if high is None or low is None or high[0] > low[0] or (high[0] == low[0] and high[1] and low[1]):
            yield Problem(where, f"{one.step} and {following.step} overlap", _MEET)
        elif high[0] < low[0] or not (high[1] or low[1]):
            yield Problem(where, f"nothing stands between {one.step} and {following.step}", _MEET)
