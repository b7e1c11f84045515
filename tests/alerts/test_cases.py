from datetime import UTC, date, datetime

import polars as pl
import pytest

from alerts.cases import cases_from
from config.schemas import VERDICT, conform

AT = datetime(2026, 11, 21, 3, tzinfo=UTC)
TODAY = date(2026, 11, 21)


def verdict(**given: object) -> pl.DataFrame:
    row = {
        "enterprise": "E", "product": "calcium_carbide", "indicator": "comprehensive_energy", "period_start": date(2025, 1, 1),
        "period_end": date(2025, 12, 31), "plant_status": "existing", "actual": 1003.7, "unit": "kgce/t", "basis": "calorific",
        "standard": "GB 21343-2023", "edition": "2023", "level_1": 805.0, "level_2": 823.0, "level_3": 940.0, "binding_level": 3, "level": "none",
        "verdict": "exceeds", "standing": "binding", "excess": 63.7, "excess_ratio": 63.7 / 940, "clause": "表1",
        "covered_ratio": 0.99, "estimated_ratio": 0.01, **given,
    }
    return conform(pl.DataFrame([row]), VERDICT)


def test_a_binding_limit_exceeded_in_a_closed_year_opens_one_case_with_the_verdict_as_evidence() -> None:
    [case] = cases_from(verdict(), [], today=TODAY, at=AT)
    assert case.key == "E/calcium_carbide/comprehensive_energy/GB 21343-2023/2025-01-01..2025-12-31"
    assert case.facts["actual"] == 1003.7
    assert case.facts["limit"] == 940.0
    for text in (case.text_zh, case.text_en):
        assert all(part in text for part in ("1,004", "940", "kgce/t", "GB 21343-2023", "表1", "2025-01-01..2025-12-31"))
    assert cases_from(verdict(), [case.key], today=TODAY, at=AT) == []


@pytest.mark.parametrize("given", [
    {"standing": "unconfirmed"}, {"standing": "indicative"}, {"verdict": "complies"}, {"verdict": "incomplete"}, {"verdict": "no_rule"},
    {"covered_ratio": 0.89}, {"estimated_ratio": 0.06}, {"covered_ratio": None}, {"standard": "DB15/T 1-2020"},
    {"period_end": date(2025, 11, 30)}, {"period_start": date(2025, 2, 1)}, {"period_start": date(2026, 1, 1), "period_end": date(2026, 12, 31)},
    {"period_start": date(2024, 7, 1), "period_end": date(2025, 6, 30)},
])
def test_anything_less_opens_no_case(given: dict[str, object]) -> None:
    assert cases_from(verdict(**given), [], today=TODAY, at=AT) == []


@pytest.mark.parametrize(("within", "count"), [(True, 0), (False, 1), (None, 1)])
def test_a_limit_within_the_uncertainty_of_the_figure_is_verified_before_any_case(within: bool | None, count: int) -> None:
    assert len(cases_from(verdict(within_uncertainty=within), [], today=TODAY, at=AT)) == count


@pytest.mark.parametrize(("today", "count"), [(date(2025, 12, 31), 0), (date(2026, 1, 1), 1)])
def test_a_year_is_closed_on_the_day_after_its_last(today: date, count: int) -> None:
    assert len(cases_from(verdict(), [], today=today, at=AT)) == count


def test_incomplete_data_open_a_case_where_the_measured_part_alone_exceeds() -> None:
    [case] = cases_from(verdict(verdict="exceeds_measured_alone", covered_ratio=0.5), [], today=TODAY, at=AT)
    assert "仅实测部分" in case.text_zh


def test_a_year_divided_by_an_edition_is_judged_part_by_part() -> None:
    first = verdict(period_end=date(2025, 6, 30), standard="GB 1-2013", edition="2013")
    second = verdict(period_start=date(2025, 7, 1), standard="GB 1-2025", edition="2025", verdict="complies")
    [case] = cases_from(pl.concat([first, second]), [], today=TODAY, at=AT)
    assert (case.standard, case.period_end) == ("GB 1-2013", date(2025, 6, 30))


def test_months_of_a_closed_year_open_no_case() -> None:
    ends = [date(2025, month + 1, 1) if month < 12 else date(2026, 1, 1) for month in range(1, 13)]
    months = [verdict(period_start=date(2025, month, 1), period_end=date.fromordinal(end.toordinal() - 1)) for month, end in enumerate(ends, start=1)]
    assert cases_from(pl.concat(months), [], today=TODAY, at=AT) == []


def test_a_second_figure_of_the_same_year_and_standard_hides_no_case() -> None:
    both = pl.concat([verdict(), verdict(verdict="complies", actual=900.0)])  # feedstock included and excluded, for instance
    assert len(cases_from(both, [], today=TODAY, at=AT)) == 1


def test_lines_are_cases_of_their_own() -> None:
    cases = cases_from(pl.concat([verdict(line="1"), verdict(line="2")]), [], today=TODAY, at=AT)
    assert len({case.key for case in cases}) == 2
