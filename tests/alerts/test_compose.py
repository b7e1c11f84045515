from datetime import UTC, date, datetime

import pytest

from alerts.compose import alert_texts, display, notices, percent, rounded
from config.findings import AlertEvent, CaseOpened, Observation
from config.settings import AlertRule

AT = datetime(2026, 11, 21, 3, tzinfo=UTC)
RULE = AlertRule(name="above-limit", kind="limit_ratio", above=1.0, severity="critical")
FACTS: dict[str, str | float | None] = {
    "enterprise_zh": "示例电石厂", "enterprise_en": "Example carbide works", "product": "calcium_carbide", "product_zh": "电石",
    "indicator": "comprehensive_energy", "actual": 1003.72, "limit": 940.0, "unit": "kgce/t", "standard": "GB 21343-2023", "clause": "4.1",
    "standing": "unconfirmed", "binding_level": 3, "closed": 1.0, "verdict": "exceeds", "period_start": "2025-01-01", "period_end": "2025-12-31",
}


def seen(**facts: str | float | None) -> Observation:
    given = {**FACTS, **facts}
    return Observation("above-limit", "E/calcium_carbide", "E", 1003.72 / 940, "ratio", "2025", AT, given)


@pytest.mark.parametrize(("value", "decimals", "text"), [
    (12.1498, 1, "12.1"), (10.502, 0, "11"), (2.5, 0, "2"), (3.5, 0, "4"), (0.0325, 3, "0.032"), (1.050, 1, "1.0"), (1.150, 1, "1.2"),
    (-2.5, 0, "-2"), (1234567.0, 0, "1,234,567"),
])
def test_display_rounds_a_half_to_the_even_digit(value: float, decimals: int, text: str) -> None:
    assert rounded(value, decimals) == text


def test_a_value_just_above_a_bound_never_looks_equal_to_it() -> None:
    assert display(940.0004, 940.0) == "940.0004"
    assert percent(0.950049, 0.95) == "95.005 %"
    assert display(940.0, 940.0) == "940.0"


def test_an_alert_says_figure_limit_edition_clause_standing_and_period_in_both_languages() -> None:
    zh, en = alert_texts(RULE, seen(), "opened")
    for text in (zh, en):
        assert all(part in text for part in ("1,004", "940", "kgce/t", "106.8 %", "100.0 %", "GB 21343-2023", "4.1", "2025"))
    assert "未确认" in zh
    assert "示例电石厂 电石 comprehensive_energy" in zh
    assert "unconfirmed" in en
    assert "Example carbide works, calcium_carbide" in en


def test_a_binding_limit_says_who_confirmed_it_by_which_copy_where_that_is_known() -> None:
    known = {"standing": "binding", "confirmed_by": "示例确认人", "copy": "示例：未与标准原文核对"}
    zh, en = alert_texts(RULE, seen(**known), "opened")
    for text in (zh, en):
        assert "示例确认人" in text
        assert "未与标准原文核对" in text
    assert "限额数据已确认）" in alert_texts(RULE, seen(standing="binding"), "opened")[0]
    assert "示例确认人" not in alert_texts(RULE, seen(**{**known, "standing": "indicative"}), "opened")[0]


def test_a_running_year_is_said_to_be_a_warning_only() -> None:
    zh, en = alert_texts(RULE, seen(closed=0.0), "opened")
    assert "仅作预警" in zh
    assert "a warning only" in en
    assert "仅作预警" not in alert_texts(RULE, seen(), "opened")[0]


def test_a_limit_below_zero_is_not_shown_as_a_share() -> None:
    zh, en = alert_texts(RULE, seen(actual=-11.0, limit=-12.0), "opened")
    assert "%" not in zh + en
    assert "-12" in zh


def test_the_sites_own_words_stand_first_and_a_closed_alert_says_so() -> None:
    rule = AlertRule(name="load", kind="quantity", grain="hour", unit="kWh", above=100.0, text_zh="请错峰。", text_en="Shift the load.")
    observation = Observation("load", "E/M/R", "E", 120.0, "kWh", "2026-11-20T08", AT, {"meter": "M", "register": "R"})
    zh, en = alert_texts(rule, observation, "closed")
    assert zh == "请错峰。 已回落。E M/R 2026-11-20T08：小时用量 120.0 kWh，报警线 100.0 kWh。"
    assert en.startswith("Shift the load. Back below the bound. E, M/R, 2026-11-20T08: 120.0 kWh in the hour")


def event(kind: str, at: datetime = AT) -> AlertEvent:
    return AlertEvent(kind, "r", "E/M/R", "E", "warning", 1.0, 0.5, "kWh", "2025", at, "文", "text", FACTS)  # type: ignore[arg-type]


def test_opening_and_closing_are_told_on_every_channel_under_keys_of_their_own_and_an_update_is_not() -> None:
    told = [*notices(event("opened"), ["file", "mail"]), *notices(event("closed"), ["file", "mail"])]
    assert len({notice.key for notice in told}) == 4
    assert notices(event("updated"), ["file"]) == []
    assert [notice.key for notice in notices(event("opened"), ["file"])] == [notice.key for notice in notices(event("opened"), ["file"])]


def test_a_case_is_told_once_whenever_it_is_found() -> None:
    def case(at: datetime) -> CaseOpened:
        return CaseOpened("E", "p", "i", "GB 1-2020", "2020", date(2025, 1, 1), date(2025, 12, 31), at, "文", "text", {})

    [early], [late] = notices(case(AT), ["file"]), notices(case(datetime(2027, 1, 1, tzinfo=UTC)), ["file"])
    assert early.key == late.key
    assert "疑似" in early.title_zh
