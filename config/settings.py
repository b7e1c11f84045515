"""Frozen settings from `tcewatch.toml` and the environment (TCEWATCH_MQTT__HOST, ...); all problems are told at once."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from config.errors import Problem, SettingsError

SETTINGS_FILE = "tcewatch.toml"
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("is no time zone of the tz database; an example is Asia/Shanghai")
    return name


ZoneName = Annotated[str, AfterValidator(_known_zone)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_AnySection = TypeVar("_AnySection", bound=_Section)


class SiteSettings(_Section):
    """Who runs this and where its data lie."""

    name_zh: str = "工业园区能源监测"
    name_en: str = "Industrial park energy monitoring"
    data_dir: Path = Path("var")
    zone: ZoneName = "Asia/Shanghai"
    tables_dir: Path | None = None  # the site's own dated tables, beside the shipped ones


class MqttSettings(_Section):
    """The broker that the gateways publish to."""

    host: str = "127.0.0.1"
    port: int = Field(1883, ge=1, le=65535)
    protocol: Literal["5", "3.1.1"] = "5"
    client_id: Identifier = "tcewatch-collector"
    username: str | None = None
    password: SecretStr | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    regions: tuple[Annotated[str, Field(pattern=r"^([0-9]{6}|\+)$")], ...] = Field(("+",), min_length=1)  # whose topics to collect; + = all
    keepalive_s: int = Field(10, ge=2, le=15)
    session_expiry_s: int = Field(7 * 86_400, ge=3600)
    batch_messages: int = Field(1000, ge=1, le=10_000)  # committed in one transaction, at most; batches grow with the load
    linger_ms: int = Field(20, ge=1, le=1000)  # how long a message may wait for company before it is committed
    max_payload_bytes: int = Field(65_536, ge=1024)  # larger ones go to quarantine unread (contract: 64 KiB)
    access_dir: Path | None = None  # where the broker's files `passwords` and `acl` lie, for `gateway enroll`
    gateway_url: str | None = Field(None, pattern=r"^mqtts?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$")  # where gateways reach the broker, where that differs

    @model_validator(mode="after")
    def _certificate_and_key_go_together(self) -> MqttSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together: give both or neither")
        return self


class RouteSettings(_Section):
    """A topic of another format -> one registered gateway, its profile and zone."""

    topic: str = Field(min_length=1)  # an MQTT topic filter
    identity: str | None = None  # the broker identity that must have sent it, where the broker tells
    enterprise: Identifier
    gateway: Identifier
    profile: Identifier
    zone: ZoneName = "Asia/Shanghai"  # of local times in the messages
    mapping: Path | None = None  # mapping: how the JSON is read; sparkplug_b: which metric is which register
    time: Literal["message", "arrival"] = "message"  # arrival: a reading without a time stamp counts as of its arrival, as uncertain
    valid: Literal["0", "1", "true", "false"] | None = None  # nhjc: the `valid` of a valid reading; the sources contradict each other

    @model_validator(mode="after")
    def _options_fit_the_profile(self) -> RouteSettings:
        if self.profile == "mapping" and self.mapping is None:
            raise ValueError('profile "mapping" needs its file, for example mapping = "meters.toml"')
        if self.mapping is not None and self.profile not in ("mapping", "sparkplug_b"):
            raise ValueError('mapping belongs to the profiles "mapping" and "sparkplug_b"')
        if self.valid is not None and self.profile != "nhjc":
            raise ValueError('valid belongs to the profile "nhjc"')
        return self


class InfluxSettings(_Section):
    """InfluxDB 2, where several processes share the readings."""

    url: str = "http://127.0.0.1:8086"
    org: str = "tcewatch"
    bucket: str = "tcewatch"
    token: SecretStr | None = None
    timeout_s: float = Field(30.0, gt=0)


class StoreSettings(_Section):
    """Where readings and the register last."""

    readings: Literal["duckdb", "influxdb"] = "duckdb"
    influxdb: InfluxSettings = InfluxSettings()
    database_url: SecretStr | None = None  # default: SQLite in data_dir; postgresql+psycopg://... at scale

    @model_validator(mode="after")
    def _influxdb_needs_a_token(self) -> StoreSettings:
        if self.readings == "influxdb" and self.influxdb.token is None:
            raise ValueError("readings = \"influxdb\" needs [store.influxdb] token")
        return self


class ScreenSettings(_Section):
    """Bounds of the checks on a single reading."""

    clock_skew_s: int = Field(300, ge=0)  # how far ahead of its arrival a reading may be
    max_age_days: int = Field(1096, ge=1)  # older live readings are a wrong clock; gateways keep six months


class RollSettings(_Section):
    """How often derived tables follow the readings."""

    interval_s: float = Field(2.0, gt=0)
    evaluate_interval_s: float = Field(10.0, gt=0)


class RetentionSettings(_Section):
    """When the journal's days are archived, and how much of the disk of data_dir stays free."""

    archive_after_days: int = Field(7, ge=1)  # archives are kept until somebody takes them away
    warn_free_mb: int = Field(2048, ge=0)  # less raises an alert
    reserve_mb: int = Field(256, ge=0)  # with less nothing is acknowledged any more


class AlertRule(_Section):
    """One threshold: on an hourly or daily quantity of a register, the ratio of a figure or of a year's forecast to its limit, or a missed budget."""

    name: Identifier
    kind: Literal["quantity", "limit_ratio", "forecast_ratio", "budget_gap"]
    severity: Literal["info", "warning", "critical"] = "warning"
    # quantity
    grain: Literal["hour", "day"] = "day"
    enterprise: Identifier | None = None  # None: every enterprise
    meter: Identifier | None = None
    register_name: Identifier | None = Field(None, alias="register")
    medium: Literal["coal", "water", "oil", "gas", "electricity", "heat", "other"] | None = None
    unit: str | None = None
    # all; one of the two: a quantity in `unit`, a ratio: 0.95 = 95 % of the limit, or what a budget may be missed by: 0.1 = a tenth of the goal
    above: float | None = None
    at_least: float | None = None  # an equal value opens it too
    clear_below: float | None = None  # hysteresis; default: the bound
    text_zh: str | None = None
    text_en: str | None = None

    @property
    def bound(self) -> float:
        return self.above if self.above is not None else cast("float", self.at_least)

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> AlertRule:
        if (self.above is None) == (self.at_least is None):
            raise ValueError("a rule needs one bound: `above`, or `at_least` where an equal value counts")
        if self.clear_below is not None and self.clear_below > self.bound:
            raise ValueError("clear_below is above the alert's own bound; choose a value at or under it")
        if self.kind == "quantity" and self.unit is None:
            raise ValueError("a rule on a quantity needs its unit, for example unit = \"kWh\"")
        return self


class FileChannel(_Section):
    """Messages to people as lines of JSON in a file."""

    kind: Literal["file"] = "file"
    name: Identifier = "file"
    path: Path = Path("outbox.jsonl")  # below data_dir unless absolute


class AlertSettings(_Section):
    """Which rules watch, and where their messages go."""

    rules: tuple[AlertRule, ...] = (
        AlertRule(name="near-limit", kind="limit_ratio", at_least=0.95, severity="warning"),  # decisions.md 5
        AlertRule(name="above-limit", kind="limit_ratio", above=1.0, severity="critical"),
        AlertRule(name="forecast-near-limit", kind="forecast_ratio", at_least=0.95, severity="warning"),
        AlertRule(name="forecast-above-limit", kind="forecast_ratio", above=1.0, severity="warning"),
        AlertRule(name="budget-missed", kind="budget_gap", above=0.0, severity="warning"),
    )
    channels: tuple[FileChannel, ...] = (FileChannel(),)

    @model_validator(mode="after")
    def _names_are_unique(self) -> AlertSettings:
        for what, names in (("rule", [rule.name for rule in self.rules]), ("channel", [channel.name for channel in self.channels])):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} name {', '.join(twice)} is used twice; a name belongs to one {what}")
        return self


class PortalSettings(_Section):
    """The pages and the API."""

    host: str = "127.0.0.1"
    port: int = Field(8765, ge=0, le=65535)  # 0: any free port
    language: Literal["zh", "en"] = "zh"
    session_hours: int = Field(12, ge=1)
    secure_cookies: bool = False  # true behind HTTPS


class LogSettings(_Section):
    """Structured logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(BaseSettings):
    """Everything that a site decides. Built by `load`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="TCEWATCH_", env_nested_delimiter="__")

    site: SiteSettings = SiteSettings()
    mqtt: MqttSettings = MqttSettings()
    routes: tuple[RouteSettings, ...] = ()
    store: StoreSettings = StoreSettings()
    screen: ScreenSettings = ScreenSettings()
    roll: RollSettings = RollSettings()
    retention: RetentionSettings = RetentionSettings()
    alerts: AlertSettings = AlertSettings()
    portal: PortalSettings = PortalSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings  # the environment wins over the file

    @property
    def data_dir(self) -> Path:
        return self.site.data_dir

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.site.zone)

    @property
    def database_url(self) -> str:
        if self.store.database_url is not None:
            return self.store.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir.absolute() / 'tcewatch.db'}"


def find_settings_file(given: Path | None = None) -> Path | None:
    """The file named on the command line, else $TCEWATCH_SETTINGS, else tcewatch.toml here; None where there is none."""
    if given is not None:
        return given
    if named := os.environ.get("TCEWATCH_SETTINGS"):
        return Path(named)
    here = Path(SETTINGS_FILE)
    return here if here.exists() else None


def load(path: Path | None = None) -> Settings:
    """Read the settings; relative paths in a file are relative to that file.

    Raises:
        SettingsError: the file cannot be read or values do not fit; every problem is in it.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SettingsError([Problem(str(path), "there is no such file", "Write one with `tcewatch init`.")]) from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            problem = Problem(str(path), f"cannot be read as TOML: {error}", "Mend that line; `tcewatch init` shows the form.")
            raise SettingsError([problem]) from error
    return build(values, where=str(path or "settings"), base=path.parent if path else None)


def build(values: dict[str, Any], *, where: str = "settings", base: Path | None = None) -> Settings:
    """Validate a tree of values (and the environment over it) as settings.

    Raises:
        SettingsError: with every problem.
    """
    stray = sorted(
        name for name in os.environ
        if name.startswith("TCEWATCH_") and "__" in name and name.removeprefix("TCEWATCH_").split("__")[0].lower() not in Settings.model_fields
    )
    problems = [
        Problem(f"environment {name}", "names no section of the settings", f"Sections are {', '.join(Settings.model_fields)}.") for name in stray
    ]
    try:
        settings = Settings(**values)
    except ValidationError as error:
        problems += [_problem(where, detail) for detail in error.errors()]
        raise SettingsError(problems) from None
    if problems:
        raise SettingsError(problems)
    return settings if base is None else settings.model_copy(update={
        "site": _beside(base, settings.site, "data_dir", "tables_dir"),
        "mqtt": _beside(base, settings.mqtt, "ca_file", "cert_file", "key_file", "access_dir"),
        "routes": tuple(_beside(base, route, "mapping") for route in settings.routes),
    })


def _beside(base: Path, section: _AnySection, *names: str) -> _AnySection:
    paths = {name: getattr(section, name) for name in names}
    return section.model_copy(update={name: base / path for name, path in paths.items() if path is not None})


def _problem(where: str, detail: Any) -> Problem:
    location = ".".join(str(part) for part in detail["loc"])
    match detail["type"]:
        case "extra_forbidden":
            return Problem(f"{where} {location}", "is not a setting", "Check its spelling and its section; `tcewatch init` lists all settings.")
        case "missing":
            return Problem(f"{where} {location}", "is missing", "Add it; `tcewatch init` shows an example.")
        case _:
            message = detail["msg"].removeprefix("Value error, ")
            shown = "" if "secret" in location or "token" in location or "password" in location else f" (it is {detail['input']!r})"
            if isinstance(detail["input"], dict | BaseModel):
                shown = ""
            return Problem(f"{where} {location}", f"{message[:1].lower()}{message[1:]}{shown}", "Change it in the file or in the environment.")
