"""What the pipeline finds and tells: alerts, cases and the notices about them. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class Observation:
    """One figure held against one rule."""

    rule: str
    subject: str  # "E-code/meter/register" of a quantity, "E-code/product/indicator" of a limit ratio
    enterprise: str
    value: float
    unit: str
    period: str  # "2026-11-20T08" (hour), "2026-11-20" (day), "2025" or "2026-01-01..2026-06-30" (limit)
    at: datetime  # end of the period
    facts: Mapping[str, str | float | None] = field(default_factory=dict)  # standard, edition, clause, standing, limit, ...


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """An alert opened, got worse or better while open, or closed."""

    kind: Literal["opened", "updated", "closed"]
    rule: str
    subject: str
    enterprise: str
    severity: Severity
    value: float
    bound: float
    unit: str
    period: str
    at: datetime
    text_zh: str
    text_en: str
    facts: Mapping[str, str | float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """The one open alert of a subject and rule."""

    id: int
    rule: str
    subject: str
    enterprise: str
    severity: Severity
    value: float
    period: str
    opened_at: datetime
    bound: float = 0.0
    unit: str = ""
    facts: Mapping[str, str | float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CaseOpened:
    """A binding limit exceeded in a closed accounting period, on complete data (decisions.md 1, 3, 6, 18)."""

    enterprise: str
    product: str
    indicator: str
    standard: str
    edition: str
    period_start: date
    period_end: date
    at: datetime
    text_zh: str
    text_en: str
    facts: Mapping[str, str | float | None] = field(default_factory=dict)  # the verdict row, frozen as evidence
    line: str | None = None  # the production line, where lines are judged apart

    @property
    def key(self) -> str:
        """One case for each subject, rule and period, however often it is found."""
        line = f"/{self.line}" if self.line else ""
        return f"{self.enterprise}/{self.product}/{self.indicator}{line}/{self.standard}/{self.period_start}..{self.period_end}"


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one channel; the key makes a repeated delivery recognisable."""

    key: str
    channel: str
    title_zh: str
    title_en: str
    body_zh: str
    body_en: str
    at: datetime
    facts: Mapping[str, str | float | None] = field(default_factory=dict)
