"""Corrections of limits, and of the figures held against them, by the parameters of a plant: the kinds, and no standard by name."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from itertools import pairwise
from typing import Any, Final, NamedTuple

import polars as pl

from config.limit_tables import correction_values
from monitors.numbers import SIGNIFICANT_DIGITS, number

LEVELS: Final = ("level_1", "level_2", "level_3")
_SAME: Final[Mapping[str, str]] = {  # other ways to write yes and no
    "true": "yes", "1": "yes", "1.0": "yes", "是": "yes", "有": "yes", "false": "no", "0": "no", "0.0": "no", "否": "no", "无": "no",
}
_NEUTRAL: Final[Mapping[str, float]] = {"add": 0.0, "multiply": 1.0, "add_share": 0.0}
_EFFECTS: Final[Mapping[str, Callable[[pl.Expr, pl.Expr, pl.Expr], pl.Expr]]] = {
    "add": lambda before, amount, _printed: before + amount,
    "multiply": lambda before, amount, _printed: before * amount,
    "add_share": lambda before, amount, printed: before + printed * amount,
}
_TEXTS: Final = tuple(f"_{what}_{language}" for what in ("lacks", "of_limit", "of_actual") for language in ("en", "zh"))
_ZH: Final[Mapping[str, str]] = {
    "{} {}{}: {} {} {} = {}": "{} {}{}：{} {} {} = {}", " (base {} per {})": "（基准 {}，每 {}）",
    " (base {} per {}, at most {} times)": "（基准 {}，每 {}，至多 {} 倍）",
    "{} {}: not above {}, no correction": "{} {}：未超过 {}，不修正", "{}: not given, not applied": "{}：未填，未计入",
    "parameter {} ({}: {})": "参数 {}（{}：{}）", "parameter {} {} is not possible: write {}": "参数 {} 不可能为 {}：应填 {}",
    "parameter {} {} has no value in the table, which has {}": "参数 {} 为 {} 时表中无值，表中有 {}",
    " or ": " 或 ", " (a share, not a percentage)": "（比例，不是百分数）", " in years": "（年）", " in {}": "（{}）",
    " from {0} to {1}": "，{0} 至 {1}",
    " of at least {0}": "，不小于 {0}", " of at most {1}": "，不大于 {1}", "a number": "数值",
    "; the table has {}": "；表中有 {}", "{} to {}": "{} 至 {}", "{} and above": "{} 及以上",
}
LANGUAGES: Final[Mapping[str, Callable[[str], str]]] = {"en": str, "zh": _ZH.__getitem__}


class Parameter(NamedTuple):
    """A column that corrections ask for."""

    name: str
    zh: str
    en: str
    unit: str
    low: float | None
    high: float | None
    allowed: tuple[str, ...]  # empty: a number
    allowed_zh: tuple[str, ...]  # the same in Chinese, which may be written too
    needed: bool  # without it the verdict is incomplete
    reach: tuple[tuple[str, str | None], ...] = ()  # from and to where tables of standards have values for it, as far as not everywhere

    @property
    def told(self) -> str:
        """What is right to write into it."""
        return self.right("en")

    def right(self, language: str) -> str:
        """What is right to write into it, in a language."""
        say = LANGUAGES[language]
        either = say(" or ")
        if self.allowed:
            return either.join(self.allowed)
        unit = {"": "", "share": say(" (a share, not a percentage)"), "a": say(" in years")}.get(self.unit, say(" in {}").format(self.unit))
        low, high = (None if bound is None else f"{bound:.12g}" for bound in (self.low, self.high))
        bounds = " from {0} to {1}" if low and high else " of at least {0}" if low else " of at most {1}" if high else ""
        span = say(bounds).format(low, high) if bounds else ""
        return say("a number") + span + unit + (say("; the table has {}").format(either.join(_spans(self.reach, say))) if self.reach else "")

    def label(self, language: str) -> str:
        return self.en if language == "en" else self.zh


def parameters(corrections: Iterable[Mapping[str, Any]]) -> list[Parameter]:
    """What some rows of CORRECTION ask for, each parameter once, in their order; of one row the condition comes first."""
    found: dict[str, Parameter] = {}
    for row in corrections:
        needed = row["when_empty"] == "incomplete"
        if row["when_parameter"] is not None:
            condition = Parameter(row["when_parameter"], row["when_zh"], row["when_en"], row["when_unit"], None, None, (), (), needed)
            found.setdefault(condition.name, condition)
        allowed = tuple(name for name, _ in correction_values(row["values"])) if row["kind"] == "by_value" else ()
        own = Parameter(
            row["parameter"], row["parameter_zh"], row["parameter_en"], row["parameter_unit"], row["low"], row["high"],
            allowed, tuple((row["values_zh"] or "").split()) if allowed else (), needed, _reach(row),
        )
        known = found.setdefault(own.name, own)
        names = dict(zip(own.allowed, own.allowed_zh, strict=True)) | dict(zip(known.allowed, known.allowed_zh, strict=True))
        values = tuple(dict.fromkeys(known.allowed + own.allowed))
        found[own.name] = known._replace(
            allowed=values, allowed_zh=tuple(names[value] for value in values), needed=known.needed or needed,
            reach=tuple(dict.fromkeys(known.reach + own.reach)),
        )
    return list(found.values())


def impossible(rows: pl.DataFrame, asked: Sequence[Parameter]) -> pl.DataFrame:
    """Which cells of the parameters' columns cannot be meant: no number, outside what is possible, or none of its values."""
    cells = rows.lazy().with_columns(_cells(rows.schema, asked))
    return cells.select((_given(each.name) & ~_possible(each)).alias(each.name) for each in asked).collect()


def corrected(rows: pl.DataFrame, corrections: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Apply the corrections of one limit row, in their sequence, to rows that are held against it.

    A level or figure whose correction is not known (a parameter is empty or impossible, or the table has no value for it) is null.

    Args:
        rows: `level_1` to `level_3` as printed, `actual`, `binding_level`, and the parameters as columns (numbers or texts); a
            missing column is an empty one.
        corrections: rows of CORRECTION.

    Returns:
        The rows with levels and `actual` corrected, and further in both languages (`_en`, `_zh`) the texts `_lacks` (which parameters),
        `_of_limit` and `_of_actual` (each correction of the binding level or of the figure, with its arithmetic); null: none.
    """
    printed = [pl.col(level).alias(f"_printed_{level}") for level in LEVELS]
    prepared = rows.lazy().with_columns(*printed, *_cells(rows.schema, parameters(corrections)))
    done = reduce(_apply, enumerate(corrections), prepared)
    texts = [_together(corrections, name, "；" if name.endswith("zh") else "; ") for name in _TEXTS]
    changed = {"actual" if row["applies_to"] == "actual" else f"level_{level}" for row in corrections for level in (row["levels"] or "0").split()}
    done = done.with_columns(pl.col(sorted(changed)).round_sig_figs(SIGNIFICANT_DIGITS))  # what floating point adds to a sum is no part of a level
    return done.select(*rows.columns, *texts).collect()


def _together(corrections: Sequence[Mapping[str, Any]], name: str, separator: str) -> pl.Expr:
    """What all corrections say, the same only once."""
    said = [f"{name}#{place}" for place, row in enumerate(corrections) if name.startswith(("_lacks", f"_of_{row['applies_to']}"))]
    if not said:
        return pl.lit(None, dtype=pl.String()).alias(name)
    once = [
        pl.when(pl.all_horizontal(pl.lit(value=True), *(pl.col(column).ne_missing(pl.col(before)) for before in said[:place]))).then(column)
        for place, column in enumerate(said)
    ]
    return pl.when(pl.any_horizontal(pl.col(said).is_not_null())).then(pl.concat_str(once, separator=separator, ignore_nulls=True)).alias(name)


def _cells(given: pl.Schema, asked: Sequence[Parameter]) -> list[pl.Expr]:
    """Each parameter as it was written (`_text_NAME`) and as number or value (`_cell_NAME`), null where it is neither."""
    cells = []
    for parameter in asked:
        written = pl.col(parameter.name) if parameter.name in given else pl.lit(None, dtype=pl.String())
        text = written.cast(pl.String()).str.strip_chars()
        if parameter.allowed:
            same = dict(_SAME) if {"yes", "no"} & set(parameter.allowed) else {}
            cell = text.str.to_lowercase().replace(same | dict(zip(parameter.allowed_zh, parameter.allowed, strict=True)))
        else:
            is_text = given.get(parameter.name, pl.String()) == pl.String()
            cell = text.cast(pl.Float64(), strict=False) if is_text else written.cast(pl.Float64())
        cells += [pl.when(text != "").then(text).alias(f"_text_{parameter.name}"), cell.alias(f"_cell_{parameter.name}")]
    return cells


def _cell(name: str) -> pl.Expr:
    return pl.col(f"_cell_{name}")


def _given(name: str) -> pl.Expr:
    return pl.col(f"_text_{name}").is_not_null()


def _possible(parameter: Parameter) -> pl.Expr:
    x = _cell(parameter.name)
    if parameter.allowed:
        return x.is_in(parameter.allowed).fill_null(value=False)
    low, high = (pl.lit(bound, dtype=pl.Float64()) for bound in (parameter.low, parameter.high))
    return x.is_finite().fill_null(value=False) & (x >= low).fill_null(value=True) & (x <= high).fill_null(value=True)


def _apply(rows: pl.LazyFrame, numbered: tuple[int, Mapping[str, Any]]) -> pl.LazyFrame:
    place, row = numbered
    *conditions, parameter = parameters([row])
    optional = row["when_empty"] == "not_applied"
    lacks, neutral = {language: _lack(parameter, row, language) for language in LANGUAGES}, ~_given(parameter.name) & optional
    for condition in conditions:
        applies = _cell(condition.name) > row["when_above"]
        lacks = {language: pl.coalesce(_lack(condition, row, language), pl.when(applies).then(own)) for language, own in lacks.items()}
        neutral = neutral | ~applies | (~_given(condition.name) & optional)
    amount = pl.when(neutral).then(_NEUTRAL[row["effect"]]).otherwise(_amount(row))
    lack = f"_lacks_en#{place}"
    rows = rows.with_columns(own.alias(f"_lacks_{language}#{place}") for language, own in lacks.items())
    rows = rows.with_columns(_amount=pl.when(pl.col(lack).is_null()).then(amount))
    change = _EFFECTS[row["effect"]]
    if row["applies_to"] == "actual":
        what, before, printed, concerned = "actual", pl.col("actual"), pl.lit(0.0), pl.lit(value=True)
        changed = [change(before, pl.col("_amount"), printed).alias("actual")]
    else:
        levels = row["levels"].split()
        what, before, printed = "limit", _bound("level_"), _bound("_printed_level_")
        concerned = pl.col("binding_level").is_in([int(level) for level in levels])
        changed = [
            change(pl.col(f"level_{level}"), pl.col("_amount"), pl.col(f"_printed_level_{level}")).alias(f"level_{level}") for level in levels
        ]
    told = {f"_of_{what}_{language}#{place}": _told(row, conditions, parameter, before, printed, language) for language in LANGUAGES}
    return rows.with_columns(
        *(pl.when(concerned, pl.col(lack).is_null()).then(text).alias(name) for name, text in told.items()), *changed,
    )


def _bound(prefix: str) -> pl.Expr:
    """The binding one of three levels."""
    return pl.coalesce(pl.when(pl.col("binding_level") == level).then(f"{prefix}{level}") for level in (1, 2, 3))


def _lack(parameter: Parameter, row: Mapping[str, Any], language: str) -> pl.Expr:
    """What is missing of a parameter: null where nothing is."""
    say, right = LANGUAGES[language], parameter.right(language)
    empty = None if row["when_empty"] == "not_applied" else say("parameter {} ({}: {})").format(parameter.name, parameter.label(language), right)

    def wrong(what: str, told: str) -> pl.Expr:
        return pl.format(say(what), pl.lit(parameter.name), f"_text_{parameter.name}", pl.lit(told))

    beyond = pl.lit(value=False) if parameter.name == row["when_parameter"] else _amount(row).is_null()
    return (
        pl.when(~_given(parameter.name)).then(pl.lit(empty, dtype=pl.String()))
        .when(~_possible(parameter)).then(wrong("parameter {} {} is not possible: write {}", right))
        .when(beyond).then(wrong("parameter {} {} has no value in the table, which has {}", say(" or ").join(_spans(_reach(row), say))))
    )


def _spans(reach: Iterable[tuple[str, str | None]], say: Callable[[str], str]) -> list[str]:
    return [say("{} and above").format(low) if high is None else say("{} to {}").format(low, high) for low, high in reach]


def _reach(row: Mapping[str, Any]) -> tuple[tuple[str, str | None], ...]:
    """From where to where a table has values, where that is not everything possible."""
    bounds = [name for name, _ in correction_values(row["values"] or "")] if row["kind"] in ("by_step", "interpolated") else []
    if not bounds or (row["kind"] == "by_step" and row["low"] is not None and float(bounds[0].removeprefix(">")) <= row["low"]):
        return ()
    return ((bounds[0].removeprefix(">"), None if row["kind"] == "by_step" else bounds[-1]),)


def _amount(row: Mapping[str, Any]) -> pl.Expr:
    """What the parameter gives; null where the table has no value."""
    x = _cell(row["parameter"])
    if row["kind"] == "linear":
        return pl.lit(row["constant"]) + pl.lit(row["coefficient"]) * _times(row)
    pairs = correction_values(row["values"])
    if row["kind"] == "by_value":
        return x.replace_strict(dict(pairs), default=None, return_dtype=pl.Float64())
    if row["kind"] == "by_step":
        steps = [(x > float(bound[1:]) if bound[0] == ">" else x >= float(bound), amount) for bound, amount in pairs]
        return pl.coalesce(pl.when(reached).then(amount) for reached, amount in reversed(steps))
    points = [(float(point), amount) for point, amount in pairs]
    return pl.coalesce(
        *(pl.when(x == point).then(amount) for point, amount in points),
        *(pl.when(x.is_between(start, end)).then(since + (x - start) * ((till - since) / (end - start)))
          for (start, since), (end, till) in pairwise(points)),
    )


def _times(row: Mapping[str, Any]) -> pl.Expr:
    """How many times `per` the parameter lies off its base, on the side that counts, at most `cap` times."""
    off = (_cell(row["parameter"]) - pl.lit(row["base"])) / pl.lit(row["per"])
    if row["side"] != "both":
        off = (off if row["side"] == "above" else -off).clip(0.0)
    return off if row["cap"] is None else off.clip(-row["cap"], row["cap"])


def _told(
    row: Mapping[str, Any], conditions: Sequence[Parameter], parameter: Parameter, before: pl.Expr, printed: pl.Expr, language: str,
) -> pl.Expr:
    """A correction with its arithmetic: what was, what is done, what comes out."""
    say = LANGUAGES[language]
    name, amount = parameter.label(language), pl.col("_amount")
    if not parameter.allowed:
        value = _with_unit(_cell(parameter.name), "" if parameter.unit == "share" else parameter.unit)
    elif language == "en":
        value = _cell(parameter.name)
    else:
        value = _cell(parameter.name).replace(dict(zip(parameter.allowed, parameter.allowed_zh, strict=True)))
    operand = number(amount)
    if row["effect"] == "add_share":
        operand = pl.format("{} x {}", number(printed), operand)
    elif row["kind"] == "linear" and (row["coefficient"] != 1 or row["constant"]):
        slope, constant = row["coefficient"], row["constant"]
        product = pl.format("{} x {}", pl.lit(f"{abs(slope) if constant else slope:.12g}"), number(_times(row)))
        operand = pl.format("({} {} {})", pl.lit(f"{constant:.12g}"), pl.lit("-" if slope < 0 else "+"), product) if constant else product
    bounds = [f"{bound:.12g}" for bound in (row["base"], row["per"], row["cap"]) if bound is not None]
    details = say(" (base {} per {})" if row["cap"] is None else " (base {} per {}, at most {} times)").format(*bounds)
    details = details if row["base"] or row["cap"] else ""
    sign, after = "x" if row["effect"] == "multiply" else "+", _EFFECTS[row["effect"]](before, amount, printed)
    done = pl.format(say("{} {}{}: {} {} {} = {}"), pl.lit(name), value, pl.lit(details), number(before), pl.lit(sign), operand, number(after))
    text = pl.when(_given(parameter.name)).then(done).otherwise(pl.lit(say("{}: not given, not applied").format(name)))
    for condition in conditions:
        stands, bound = _with_unit(_cell(condition.name), condition.unit), f"{row['when_above']:.12g} {condition.unit}"
        below = pl.format(say("{} {}: not above {}, no correction"), pl.lit(condition.label(language)), stands, pl.lit(bound))
        text = pl.when(_cell(condition.name) > row["when_above"]).then(text).otherwise(below)
    return text


def _with_unit(value: pl.Expr, unit: str) -> pl.Expr:
    return pl.concat_str(number(value), pl.lit(f" {unit}" if unit else ""))
