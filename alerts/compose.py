"""Findings as texts for people, in Chinese and English, and as notices for channels."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, Literal, assert_never

from config.budgets import MEASURE_NAMES
from config.findings import AlertEvent, CaseOpened, Notice, Observation
from config.settings import AlertRule

Facts = Mapping[str, str | float | None]
Texts = tuple[str, str]  # Chinese, English

STANDING: Final[Mapping[str, Texts]] = {  # decisions.md 3
    "binding": ("已确认", "confirmed"),
    "unconfirmed": ("未确认", "unconfirmed"),
    "indicative": ("仅供参考", "indicative only"),
}
_EVENT: Final[Mapping[str, Texts]] = {"opened": ("报警", "Alert"), "updated": ("报警更新", "Alert updated"), "closed": ("报警解除", "Alert cleared")}
_MOST_DECIMALS: Final = 6


def rounded(value: float, decimals: int) -> str:
    """A figure for display, rounded by GB/T 8170-2008 clause 3 (a half goes to the even digit), with thousands separators.

    >>> rounded(2.5, 0), rounded(3.5, 0), rounded(0.125, 2), rounded(-0.04, 1)
    ('2', '4', '0.12', '0.0')
    """
    quantum = Decimal(1).scaleb(-decimals)
    return f"{Decimal(repr(float(value))).quantize(quantum, ROUND_HALF_EVEN) + 0:,}"  # + 0: no minus before zero


def display(value: float, beside: float | None = None) -> str:
    """A figure with about four significant digits, and with more where it would otherwise look equal to the bound beside it.

    >>> display(1012.345), display(940.04, beside=940.0), display(940.0, beside=940.0)
    ('1,012', '940.04', '940.0')
    """
    decimals = next((digits for digits, size in ((0, 1000.0), (1, 100.0), (2, 10.0)) if abs(value) >= size), 3)
    while beside is not None and value != beside and decimals < _MOST_DECIMALS and rounded(value, decimals) == rounded(beside, decimals):
        decimals += 1
    return rounded(value, decimals)


def percent(ratio: float, beside: float | None = None) -> str:
    """A ratio as a percentage with one decimal, or more where it would look equal to the bound beside it."""
    decimals = 1
    while beside is not None and ratio != beside and decimals < _MOST_DECIMALS and rounded(ratio * 100, decimals) == rounded(beside * 100, decimals):
        decimals += 1
    return f"{rounded(ratio * 100, decimals)} %"


def alert_texts(rule: AlertRule, observation: Observation, kind: Literal["opened", "updated", "closed"]) -> Texts:
    """What an alert says: the site's own words for the rule first, then the figure, its bound, its period and where the bound comes from."""
    match rule.kind:
        case "quantity":
            zh, en = _quantity_texts(rule, observation)
        case "limit_ratio":
            zh, en = _limit_texts(rule, observation)
        case "forecast_ratio":
            zh, en = _limit_texts(rule, observation)
            zh, en = f"全年预测。{zh}", f"Forecast of the year. {en}"
        case "budget_gap":
            zh, en = _budget_texts(observation)
        case _:
            assert_never(rule.kind)
    if kind == "closed":
        zh, en = f"已回落。{zh}", f"Back below the bound. {en}"
    return (f"{rule.text_zh} {zh}" if rule.text_zh else zh), (f"{rule.text_en} {en}" if rule.text_en else en)


def free_space_texts(free_mb: float, warn_mb: int, reserve_mb: int, kind: Literal["opened", "updated", "closed"]) -> Texts:
    """What an alert on the disk of data_dir says, and what to do."""
    free = rounded(free_mb, 0)
    if kind == "closed":
        return f"数据盘可用空间已恢复：{free} MB。", f"The data disk has room again: {free} MB are free."
    if free_mb < reserve_mb:
        zh = f"数据盘仅剩 {free} MB（保留 {reserve_mb:,} MB）：已停止确认消息，由消息代理保管；腾出空间后自动恢复。"
        en = f"{free} MB of the data disk are free, and {reserve_mb:,} MB are kept in reserve: the broker keeps all messages until there is room."
    else:
        zh = f"数据盘可用空间 {free} MB，低于 {warn_mb:,} MB；低于 {reserve_mb:,} MB 时将停止确认消息。请扩容或移走归档。"
        en = (
            f"{free} MB of the data disk are free, less than {warn_mb:,} MB; below {reserve_mb:,} MB no message is acknowledged any more. "
            "Enlarge the disk or move archives away."
        )
    return zh, en


def flag_texts(enterprise: str, facts: Facts, kind: Literal["opened", "updated", "closed"]) -> Texts:
    """What an alert on a flagged reset or step says: what the register showed before and after, and what a person should do.

    Args:
        enterprise: its code.
        facts: flag (reset, over_rating), meter, register, from, to (local times), before, after, quantity, unit, value, bound, count.
        kind: what became of the alert.
    """
    names = subject_names({"enterprise": enterprise, **{name: facts.get(name) for name in ("enterprise_zh", "enterprise_en")}})
    place = f"{facts['meter']}/{facts['register']}"
    before, after, start, end, count = reading(facts, "before"), reading(facts, "after"), facts["from"], facts["to"], int(number(facts, "count"))
    if facts["flag"] == "reset":
        zh = (
            f"{names[0]} {place}：{start} 示数 {before}，{end} 示数 {after}，未见换表、归零或翻转登记，"
            "按归零处理：自新示数起继续计量，其间用量未知。"
        )
        en = (
            f"{names[1]}, {place}: {before} at {start}, then {after} at {end}, and no change, reset or rollover is declared. "
            "It counts on from the new value; what was used in between is unknown."
        )
        many_zh, many_en = f"当日共 {count} 次，此为首次。", f" There are {count} on this day; this is the first."
        do_zh = "请在“数据修正”页核查：属实则确认；示数有误则剔除；换表或归零请登记起止示数。"
        do_en = "On the page Edits, confirm it if it is right, exclude wrong readings, or declare the change or reset with its values."
    else:
        rate, bound, unit = display(number(facts, "value"), number(facts, "bound")), display(number(facts, "bound")), facts["unit"]
        used = display(number(facts, "quantity"))
        zh = (
            f"{names[0]} {place}：{start}（示数 {before}）至 {end}（示数 {after}）用量 {used} {unit}，"
            f"即 {rate} {unit}/h，超过表计额定 {bound} {unit}/h。"
        )
        en = (
            f"{names[1]}, {place}: {used} {unit} from {start} ({before}) to {end} ({after}), that is {rate} {unit}/h; "
            f"the meter's rating is {bound} {unit}/h."
        )
        many_zh, many_en = f"当日共 {count} 段，此为最快一段。", f" There are {count} such steps on this day; this is the fastest."
        do_zh = "用量保留、未清零，标为可疑，待人工核查。请在“数据修正”页确认、剔除或替换示数；额定值有误则更正台账。"
        do_en = "It is kept as suspect, not zeroed. On the page Edits, confirm it, exclude or replace readings; or mend the register's rating."
    if count > 1:
        zh, en = f"{zh}{many_zh}", f"{en}{many_en}"
    if kind == "closed":
        zh = f"已解除：已确认、登记或修正，或后续读数表明并非如此。{zh}"
        return zh, f"Settled: confirmed, declared or mended, or later readings show otherwise. {en}"
    return f"{zh}{do_zh}", f"{en} {do_en}"


def reading(facts: Facts, name: str) -> str:
    """What a register showed, with all its digits; - where it is not known.

    >>> from alerts.compose import reading
    >>> reading({"before": 1234567.5}, "before"), reading({}, "before")
    ('1234567.5', '-')
    """
    return "-" if facts.get(name) is None else f"{number(facts, name):.12g}"


def case_texts(facts: Facts) -> Texts:
    """What a newly suspected case says: figure, limit, edition, clause, standing and period, and that a person has yet to look at it.

    Args:
        facts: a VERDICT row (with `limit` = the binding level's value), optionally with names (see `subject_names`).
    """
    names = subject_names(facts)
    actual, limit = number(facts, "actual"), number(facts, "limit")
    figures = {"zh": _figures_zh(facts, actual, limit), "en": _figures_en(facts, actual, limit)}
    alone = ("数据不完整，但仅实测部分已超限额。", "Data are incomplete, but the measured part alone exceeds the limit. ")
    zh_alone, en_alone = alone if facts.get("verdict") == "exceeds_measured_alone" else ("", "")
    period = f"{facts['period_start']}..{facts['period_end']}"
    return (
        f"{names[0]} {period}：{figures['zh']}{zh_alone}疑似超限额用能，待节能监察机构核查，尚非认定。",
        f"{names[1]} {period}: {figures['en']} {en_alone}Suspected only; an inspection has to find it before it counts.",
    )


def _budget_texts(observation: Observation) -> Texts:
    """Whose budget, of what, and its derivation, which begins with the codes of both."""
    _, subject, measure, *_ = observation.subject.split("/")
    zh, en = subject_names({"enterprise": observation.enterprise, **observation.facts})
    of_zh, of_en = MEASURE_NAMES.get(measure, (measure, measure))
    said_zh, said_en = (str(observation.facts[name]).removeprefix(f"{subject} {measure} ") for name in ("derivation_zh", "derivation_en"))
    return f"{zh} {of_zh} {said_zh}", f"{en}, {of_en}: {said_en}"


def subject_names(facts: Facts) -> Texts:
    """Enterprise, product and indicator for people; codes stand in where the facts carry no names (`enterprise_zh`, `product_en`, ...)."""

    def named(what: str, language: str) -> str:
        return str(facts.get(f"{what}_{language}") or facts.get(what) or "")

    parts_zh = [named(what, "zh") for what in ("enterprise", "product", "indicator", "line")]
    parts_en = [named(what, "en") for what in ("enterprise", "product", "indicator", "line")]
    return " ".join(part for part in parts_zh if part), ", ".join(part for part in parts_en if part)


def notices(event: AlertEvent | CaseOpened, channels: Sequence[str]) -> list[Notice]:
    """One notice for each channel: an alert when it opens and when it closes, a case when it opens; an update tells nobody.

    The key is the identity of the event and the channel, so that a repeated delivery is recognised.
    """
    match event:
        case AlertEvent(kind="updated"):
            return []
        case AlertEvent():
            names = subject_names({"enterprise": event.enterprise, **event.facts})
            title_zh, title_en = (f"{word}（{event.rule}）{name}" if index == 0 else f"{word} ({event.rule}): {name}"
                                  for index, (word, name) in enumerate(zip(_EVENT[event.kind], names, strict=True)))
            identity = f"alert/{event.kind}/{event.rule}/{event.subject}/{event.period}/{event.at.isoformat()}"
        case CaseOpened():
            names = subject_names({"enterprise": event.enterprise, "product": event.product, "indicator": event.indicator, **event.facts})
            title_zh, title_en = f"疑似超限额案件：{names[0]}", f"Suspected excess over a limit: {names[1]}"
            identity = f"case/{event.key}"
        case _:
            assert_never(event)
    return [
        Notice(
            key=f"{identity}/{channel}", channel=channel, title_zh=title_zh, title_en=title_en,
            body_zh=event.text_zh, body_en=event.text_en, at=event.at, facts=event.facts,
        )
        for channel in channels
    ]


def number(facts: Facts, name: str) -> float:
    """A fact that must be a number.

    Raises:
        KeyError: it is missing or is a text; the caller built the facts wrongly.
    """
    value = facts.get(name)
    if value is None or isinstance(value, str):
        raise KeyError(name)
    return value


def _quantity_texts(rule: AlertRule, observation: Observation) -> Texts:
    place = "/".join(str(observation.facts.get(part, "")) for part in ("meter", "register"))
    enterprise_zh, enterprise_en = subject_names({
        key: value for key, value in {"enterprise": observation.enterprise, **observation.facts}.items() if key.startswith("enterprise")
    })
    value, bound, unit = display(observation.value, rule.bound), display(rule.bound), observation.unit
    grain_zh, grain_en = ("小时", "hour") if rule.grain == "hour" else ("日", "day")
    return (
        f"{enterprise_zh} {place} {observation.period}：{grain_zh}用量 {value} {unit}，报警线 {bound} {unit}。",
        f"{enterprise_en}, {place}, {observation.period}: {value} {unit} in the {grain_en}; the bound is {bound} {unit}.",
    )


def _limit_texts(rule: AlertRule, observation: Observation) -> Texts:
    facts = observation.facts
    actual, limit = number(facts, "actual"), number(facts, "limit")
    names = subject_names({"enterprise": observation.enterprise, **facts})
    zh, en = _figures_zh(facts, actual, limit), _figures_en(facts, actual, limit)
    if limit > 0:  # a share of a limit at or below zero means nothing to a reader
        ratio, bound = percent(observation.value, rule.bound), percent(rule.bound)
        zh, en = f"{zh}为限额的 {ratio}，报警线 {bound}。", f"{en} That is {ratio} of the limit; the bound is {bound}."
    if not facts.get("closed"):  # decisions.md 1
        zh, en = f"{zh}统计年度未结束，仅作预警。", f"{en} The accounting year is not closed: a warning only."
    return f"{names[0]} {observation.period}：{zh}", f"{names[1]}, {observation.period}: {en}"


def _figures_zh(facts: Facts, actual: float, limit: float) -> str:
    clause = f"{facts['clause']}，" if facts.get("clause") else ""
    confirmed = f"（{facts['confirmed_by']}；{facts.get('copy') or ''}）" if _is_confirmed(facts) else ""
    return (
        f"实际 {display(actual, limit)} {facts['unit']}，限额 {display(limit)} {facts['unit']}（{int(number(facts, 'binding_level'))} 级，"
        f"{facts['standard']}，{clause}限额数据{_standing(facts)[0]}{confirmed}）。"
    )


def _figures_en(facts: Facts, actual: float, limit: float) -> str:
    clause = f", {facts['clause']}" if facts.get("clause") else ""
    confirmed = f" by {facts['confirmed_by']}, copy read: {facts.get('copy') or 'not said'}" if _is_confirmed(facts) else ""
    return (
        f"actual {display(actual, limit)} {facts['unit']}, limit {display(limit)} {facts['unit']} (level {int(number(facts, 'binding_level'))}, "
        f"{facts['standard']}{clause}; limit row {_standing(facts)[1]}{confirmed})."
    )


def _standing(facts: Facts) -> Texts:
    said = str(facts["standing"])
    return STANDING.get(said, (said, said))


def _is_confirmed(facts: Facts) -> bool:
    return facts["standing"] == "binding" and bool(facts.get("confirmed_by"))
