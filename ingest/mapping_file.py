"""What a mapping file may say; every problem of one is told at once.

Expressions are JMESPath. They see `message`, `topic` (the levels of the topic, from 0) and, once for each reading or group of
readings, `item`. One with `item` may walk the item only, so that the work for a message stays in proportion to it.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from config.errors import Problem, SettingsError
from config.units import known_units

MAX_NAME_CHARS: Final = 256  # a longer meter or field name is none: one name may be repeated in every reading of a message
MAX_EXPRESSION_CHARS: Final = 500
_REMEMBERED_NAMES: Final = 4096
_EXAMPLE: Final = datetime(2026, 11, 20, 8, 15, 30, tzinfo=UTC)  # what a format is tried with
_PLAIN: Final = {"field", "subexpression", "index", "index_expression", "or_expression", "literal", "identity", "current"}
_GOES_ON: Final = {"subexpression", "index_expression", "projection", "value_projection", "filter_projection", "flatten", "pipe"}
_FACTOR: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?(/[0-9]{1,15})?")
_LEVEL: Final = r"[^./\[\]]*"  # what a star matches: one name of a path
BROKEN: Final = object()  # what an expression gives that cannot be evaluated: no text, no number, not nothing


class Expression:
    """One JMESPath expression, compiled."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_EXPRESSION_CHARS:
            raise ValueError(f"is longer than {MAX_EXPRESSION_CHARS} characters")
        try:
            self._parsed = jmespath.compile(text)
        except JMESPathError as error:
            raise ValueError(f"is no JMESPath expression: {' '.join(str(error).split())}") from None
        roots = set(_roots(self._parsed.parsed))
        if strays := sorted(roots - {"message", "item", "topic"}):
            raise ValueError(f"starts with {', '.join(strays)}; write message, item or topic, for example item.device_id or topic[1]")
        self.of_item = "item" in roots
        if self.of_item and len(roots) > 1 and not set(_types(self._parsed.parsed)) <= _PLAIN:
            raise ValueError("joins item with message or topic by more than names, indices and ||; that would walk the whole message for each item")

    def get(self, scope: dict[str, Any]) -> Any:
        try:
            return self._parsed.search(scope)
        except (JMESPathError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError, RecursionError):
            return BROKEN


def _roots(tree: Any) -> Iterator[str]:
    """What an expression looks up in the scope itself, not in what it found there."""
    if not isinstance(tree, dict):
        return
    if tree["type"] in ("field", "current"):
        yield tree.get("value", "@")
    elif tree["type"] in _GOES_ON:
        yield from _roots(tree["children"][0])
    else:
        for child in tree["children"]:
            yield from _roots(child)


def _types(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        yield tree["type"]
        for child in tree["children"]:
            yield from _types(child)


def _of_message(expression: Expression) -> Expression:
    if expression.of_item:
        raise ValueError("may not use item here: it is evaluated once for the whole message")
    return expression


def _expression(text: object) -> Expression:
    if not isinstance(text, str):
        raise ValueError("must be text: a JMESPath expression")  # noqa: TRY004 - pydantic reports ValueError
    return Expression(text)


def _fraction(value: object) -> Fraction:
    if isinstance(value, Fraction):
        return value
    text = value if isinstance(value, str) else "" if isinstance(value, bool) else str(value)
    try:
        top, _, bottom = text.partition("/")
        factor = Fraction(top) / Fraction(bottom or 1) if _FACTOR.fullmatch(text) else Fraction(0)
    except ZeroDivisionError:
        factor = Fraction(0)
    if factor <= 0:
        raise ValueError('must be a number above 0, or a fraction as text, for example "1/60"')
    return factor


def _unit(unit: str) -> str:
    if unit not in known_units():
        raise ValueError(f"is no known unit; known are {', '.join(known_units())}")
    return unit


def _format(text: str) -> str:
    if text in ("iso", "s", "ms"):
        return text
    try:
        read = datetime.strptime(_EXAMPLE.strftime(text), text)  # noqa: DTZ007 - local times get the route's zone
    except (ValueError, re.error):
        read = None
    if "%" not in text or read is None or read.date() != _EXAMPLE.date():
        raise ValueError('must be "iso", "s", "ms" or a pattern with year, month and day, for example "%Y-%m-%d %H:%M:%S"')
    return text


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern with stars, matched in one pass however often its parts occur: a gateway chooses the names that are tried."""
    if not 1 <= len(text) <= MAX_NAME_CHARS:
        raise ValueError(f"has 1 to {MAX_NAME_CHARS} characters")
    first, *others = re.split(r"(\*+)", text)
    pairs = list(zip(others[::2], others[1::2], strict=True))  # a star and what follows it
    made = re.escape(first)
    for place, (star, after) in enumerate(pairs):
        last = place == len(pairs) - 1
        if star == "**" and last and (not after or (not first and place == 0)):
            made += ".*" + re.escape(after)
        elif star != "*":
            raise ValueError("has ** elsewhere than at its end, or at its beginning as the only star")
        elif last:
            made += f"({_LEVEL}){re.escape(after)}"
        else:
            made += f"(?>({_LEVEL}?){re.escape(after)})"  # the first place where it fits is as good as any later one
    return re.compile(made, re.DOTALL)


MessageExpression = Annotated[Expression, BeforeValidator(_expression), AfterValidator(_of_message)]
ItemExpression = Annotated[Expression, BeforeValidator(_expression)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class _Field(_Table):
    """Which register a field is; {1}, {2} ... stand for what its stars matched."""

    register_name: str = Field(alias="register", min_length=1, max_length=MAX_NAME_CHARS)
    meter: str | None = Field(None, min_length=1, max_length=MAX_NAME_CHARS)
    unit: Annotated[str, AfterValidator(_unit)] | None = None
    factor: Annotated[Fraction, BeforeValidator(_fraction)] = Fraction(1)  # only what the unit's definition asks for


@dataclass(frozen=True, slots=True)
class Named:
    """What a field is: a reading of this register (None: known, not read)."""

    register: str | None
    meter: str | None = None  # None: the one of the item
    unit: str | None = None
    factor: Fraction = Fraction(1)


class Names(_Table):
    """Which fields are readings, which are known and not read, and what becomes of the others."""

    fields_: dict[str, _Field] = Field({}, alias="fields")
    known: tuple[str, ...] = ()
    unlisted: Literal["fault", "register"] = "fault"  # register: the field's name is the register's

    @model_validator(mode="after")
    def _patterns_fit(self) -> "Names":
        wrong = []
        for name, field in self.fields_.items():
            try:
                groups = _pattern(name).groups
            except ValueError as error:
                wrong.append(f"fields {name!r} {error}")
                continue
            wrong += [
                f"fields {name!r} has no star for {{{used}}}" for text in (field.register_name, field.meter or "")
                for used in re.findall(r"\{(\d+)\}", text) if not 1 <= int(used) <= groups
            ]
        for name in self.known:
            try:
                _pattern(name)
            except ValueError as error:
                wrong.append(f"known {name!r} {error}")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @cached_property
    def _remembered(self) -> dict[str, Named | None]:
        return {}

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], _Field | None]]:
        return [*((_pattern(name), field) for name, field in self.fields_.items()), *((_pattern(name), None) for name in self.known)]

    def named(self, name: str) -> Named | None:
        """What a field is; None: it is not in the list and counts as unknown."""
        if len(name) > MAX_NAME_CHARS:
            return None
        if name in self._remembered:
            return self._remembered[name]
        if len(self._remembered) >= _REMEMBERED_NAMES:
            self._remembered.clear()
        found = self._remembered[name] = self._look_up(name)
        return found

    def _look_up(self, name: str) -> Named | None:
        for pattern, field in self._patterns:
            if (match := pattern.fullmatch(name)) is None:
                continue
            if field is None:
                return Named(None)
            return Named(_filled(field.register_name, match), field.meter and _filled(field.meter, match), field.unit, field.factor)
        return Named(name) if self.unlisted == "register" else None


def _filled(text: str, match: re.Match[str]) -> str:
    return re.sub(r"\{(\d+)\}", lambda place: match[int(place[1])], text)


class _Time(_Table):
    expression: ItemExpression = Field(alias="from")
    format: Annotated[str, AfterValidator(_format)] = "iso"  # iso with an offset, s or ms since 1970, or a pattern in the route's zone


class _Quality(_Table):
    expression: ItemExpression = Field(alias="from")
    good: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()  # any other value is uncertain; where there is none, nothing is said


class _Sequence(_Table):
    epoch: MessageExpression
    seq: MessageExpression


class Mapping(Names):
    """How one JSON format is read."""

    readings: MessageExpression = Field(default_factory=lambda: Expression("message"))  # one object or a list of them
    meter: ItemExpression
    register_: ItemExpression | None = Field(None, alias="register")  # with `value`: each item is one reading; else each field of it may be
    value: ItemExpression | None = None
    error: ItemExpression | None = None  # what an item has instead of a value where its device failed
    errors: MessageExpression | None = None  # an object: name of a field that failed -> error
    text_numbers: bool = False
    time: _Time | None = None
    quality: _Quality | None = None
    sequence: _Sequence | None = None

    @model_validator(mode="after")
    def _forms_are_whole(self) -> "Mapping":
        if (self.register_ is None) != (self.value is None):
            raise ValueError("register and value go together: give both (each item is one reading) or neither (its fields are)")
        if self.error is not None and self.value is None:
            raise ValueError("error belongs to register and value; for a list of failed fields write errors")
        if not self.fields_ and self.unlisted == "fault":
            raise ValueError('nothing would be read: list [fields], or write unlisted = "register"')
        return self

    @property
    def numbered(self) -> bool:
        """Whether messages carry epoch and seq, so that gaps are seen."""
        return self.sequence is not None


_Any = TypeVar("_Any", bound=Names)


def load(path: Path, kind: type[_Any]) -> _Any:
    """Read a mapping file, or (kind Names) the list of fields alone.

    Raises:
        SettingsError: it cannot be read or used; every problem is in it.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError([Problem(str(path), "there is no such file", "Check the name of the mapping file.")]) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError([Problem(str(path), f"cannot be read as TOML: {error}", "Mend that line.")]) from error
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise SettingsError([_problem(str(path), detail) for detail in error.errors()]) from None


def _problem(where: str, detail: Any) -> Problem:
    location = ".".join(str(part) for part in detail["loc"])
    match detail["type"]:
        case "extra_forbidden":
            return Problem(f"{where} {location}", "is not part of a mapping", "The gateway guide lists what a mapping file may say.")
        case "missing":
            return Problem(f"{where} {location}", "is missing", "Add it; the gateway guide shows an example.")
        case _:
            message = detail["msg"].removeprefix("Value error, ")
            return Problem(f"{where} {location}".rstrip(), f"{message[:1].lower()}{message[1:]}", "Mend it; the gateway guide shows an example.")
