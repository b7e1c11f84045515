"""The SQL tables. Register rows are versions: what is known is closed and followed by a new row, never altered."""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from store.database import UtcDateTime

metadata: Final = MetaData(naming_convention={
    "ix": "ix_%(column_0_label)s", "uq": "uq_%(table_name)s_%(column_0_name)s", "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s", "pk": "pk_%(table_name)s",
})
_Id: Final = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers only INTEGER keys by itself


def _text(name: str, size: int = 64, *, required: bool = False) -> Column[Any]:
    return Column(name, String(size), nullable=not required)


def _number(name: str) -> Column[Any]:
    return Column(name, Double())


def _instant(name: str, *, required: bool = False) -> Column[Any]:
    return Column(name, UtcDateTime(), nullable=not required)


def _long(name: str, *, required: bool = False) -> Column[Any]:
    return Column(name, Text(), nullable=not required)


def _versioned(name: str, *columns: Column[Any]) -> Table:
    """A table of versions: `key` names the thing, and only one of its versions is current (known_to is null)."""
    table = Table(
        name, metadata, Column("id", _Id, primary_key=True), _text("key", 500, required=True), *columns,
        _instant("known_from", required=True), _instant("known_to"), _text("recorded_by", 200, required=True),
    )
    current = table.c.known_to.is_(None)
    Index(f"uq_{name}_current", table.c.key, unique=True, sqlite_where=current, postgresql_where=current)
    return table


def _names() -> tuple[Column[Any], Column[Any]]:
    return _text("name_zh", 200), _text("name_en", 200)


def _validity() -> tuple[Column[Any], Column[Any]]:
    return _instant("valid_from"), _instant("valid_to")


def _checked() -> tuple[Column[Any], ...]:
    return _text("maker", 200, required=True), _instant("made_at", required=True), _text("checker", 200), _instant("checked_at")


def _of_register() -> tuple[Column[Any], ...]:
    key: Column[Any] = Column("register_key", Integer(), ForeignKey("register_key.register_key"), nullable=False, index=True)
    return key, _text("enterprise", required=True), _text("meter", required=True), _text("register", required=True)


# --- register ---
REGION: Final = _versioned("region", _text("region", required=True), *_names())
PARK: Final = _versioned("park", _text("park", required=True), _text("region", required=True), _text("grid_region"), *_names())
ENTERPRISE: Final = _versioned(
    "enterprise", _text("enterprise", required=True), *_names(), _text("park", required=True),
    _text("industry", 200), _text("plant_status"), Column("key_unit", Boolean()),
)
SITE: Final = _versioned("site", _text("enterprise", required=True), _text("site", required=True), _text("park", required=True), *_names())
BLOCK: Final = _versioned("block", _text("park", required=True), _text("block", required=True), *_names())
HOLDING: Final = _versioned(  # to whom the energy of a site counts and where it lies, from a day on: parks merge, sites change hands
    "holding", _text("enterprise", required=True), _text("site", required=True), _text("owner", required=True), _text("park", required=True),
    _text("block"), *_validity(),
)
GATEWAY: Final = _versioned(
    "gateway", _text("enterprise", required=True), _text("gateway", required=True), _text("region", required=True), *_names(), _text("software", 200),
)
METER: Final = _versioned(
    "meter", _text("enterprise", required=True), _text("meter", required=True), _text("gateway"), _text("medium", required=True), *_names(),
    _text("site"), _text("accuracy_class"), Column("calibrated_on", Date()), Column("calibration_due", Date()),
)
REGISTER_KEY: Final = Table(  # given once, never reused; gapless because imports take turns
    "register_key", metadata, Column("register_key", Integer(), primary_key=True, autoincrement=False),
    _text("enterprise", required=True), _text("meter", required=True), _text("register", required=True),
    UniqueConstraint("enterprise", "meter", "register"),
)
REGISTER: Final = _versioned(
    "register", *_of_register(), _text("unit", required=True), _text("kind", required=True), _text("stamp", required=True),
    _number("modulus"), _number("range_low"), _number("range_high"), _number("max_rate_per_h"),
    Column("multiplier", Double(), nullable=False), _number("resolution"), Column("net", Boolean(), nullable=False), *_validity(),
    _text("error_values", 200), _text("formula", 500),
)
ASSIGNMENT: Final = _versioned(
    "assignment", *_of_register(), _text("carrier", required=True), _text("flow", required=True), _text("use"),
    _text("site"), _text("process"), _text("product"), Column("share_ratio", Double(), nullable=False), *_validity(),
    _text("allocation"), _text("key_meter"), _text("key_register"),  # how what is shared is divided month by month
)
EVENT: Final = _versioned(
    "event", *_of_register(), _instant("at", required=True), _text("event", required=True),
    _number("closing_value"), _number("opening_value"), _number("multiplier"),
)
RULE: Final = _versioned(  # bounds of validation rules for an enterprise, a meter or a register
    "vee_rule", _text("enterprise", required=True), _text("meter"), _text("register"), _text("rule", required=True),
    _number("low"), _number("high"), _text("severity"), Column("enabled", Boolean()), *_validity(),
)
BALANCE: Final = _versioned(  # which registers are measured against which
    "balance", _text("enterprise", required=True), _text("total_meter", required=True), _text("total_register", required=True),
    _text("part_meter", required=True), _text("part_register", required=True), _text("kind", required=True), *_validity(),
)
DESIGNATION: Final = _versioned(  # an authority has made an enterprise a key energy user below the general threshold
    "designation", _text("enterprise", required=True), _text("authority", 200, required=True), _text("document", 200), *_validity(),
)
MEDIUM_USE: Final = _versioned(  # what an enterprise declares that it uses; without site: at all of them
    "medium_use", _text("enterprise", required=True), _text("site"), _text("medium", required=True), _text("source", 500, required=True),
    *_validity(),
)
PROJECT: Final = _versioned(
    "project", _text("project", required=True), _text("enterprise", required=True), _text("park", required=True), *_names(),
    _text("product", 200), _text("indicator", 200), _text("feedstock"), _number("design_value"), _text("design_unit"), _long("parameters"),
    Column("approved_on", Date()), _text("approval", 200), _number("approved_calorific_tce"), _number("approved_equivalent_tce"),
    Column("start_by", Date()), Column("started_on", Date()), Column("planned_operation_on", Date()), Column("operating_from", Date()),
    Column("ended_on", Date()), _text("source", 500),
)
QUOTA: Final = _versioned(  # energy that is granted to a project, used by it, or taken back
    "quota", _text("project", required=True), Column("day", Date(), nullable=False), _text("kind", required=True),
    _text("document", 200, required=True), Column("calorific_tce", Double(), nullable=False),
)
STOP: Final = _versioned(  # an enterprise, or a process of it, stands by its own report
    "stop", _text("enterprise", required=True), _text("process"), _text("document", 200), *_validity(),
)
METERING_POINT: Final = _versioned(  # where an enterprise needs a meter; without meter: it lacks there
    "metering_point", _text("enterprise", required=True), _text("point", required=True), _text("level", required=True),
    _text("medium", required=True), _text("meter"), *_names(),
)
REGISTER_VERSION: Final = Table(  # one row: counts changes, and is the lock that imports take turns by
    "register_version", metadata, Column("id", Integer(), primary_key=True, autoincrement=False), Column("version", _Id, nullable=False),
)

# --- people ---
USER: Final = Table(
    "person", metadata, Column("id", _Id, primary_key=True), Column("name", String(200), nullable=False, unique=True),
    _text("password_hash", 500, required=True), _long("roles", required=True), _long("parks"), _instant("created_at", required=True),
)
TOKEN: Final = Table(
    "token", metadata, Column("id", _Id, primary_key=True), Column("name", String(200), nullable=False, unique=True),
    Column("digest", String(64), nullable=False, unique=True), _long("roles", required=True), _long("scopes", required=True), _long("parks"),
    _instant("created_at", required=True), _instant("expires_at"), _instant("revoked_at"),
    _text("enterprise"), _text("gateway"),  # of a gateway's token: it sends for this one, and reads nothing
)

# --- reported figures: every report is a row of its own; of the checked ones of a key the last counts ---
FIGURE: Final = Table(
    "figure", metadata, Column("id", _Id, primary_key=True), Column("key", String(500), nullable=False, index=True),
    _text("enterprise", required=True), _text("park"), _text("period", required=True), _text("figure", required=True),
    Column("value", Double(), nullable=False), _text("unit"), _text("product", 200), _text("indicator", 200), _text("line"), _text("plant_status"),
    _text("feedstock"), _text("price_basis"), Column("base_year", Integer()), _text("source", 500), _long("parameters"),
    *_checked(),
)
MONTHLY_FIGURE: Final = Table(
    "monthly_figure", metadata, Column("id", _Id, primary_key=True), Column("key", String(500), nullable=False, index=True),
    _text("enterprise", required=True), _text("carrier", required=True), _text("flow", required=True), _text("kind", required=True),
    Column("first_day", Date(), nullable=False), Column("last_day", Date(), nullable=False),
    Column("quantity", Double(), nullable=False), _text("unit", required=True), _text("document", 200), _text("source", 500),
    Column("withdrawn", Boolean(), nullable=False), *_checked(),
)
BATCH: Final = Table(
    "batch", metadata, Column("id", _Id, primary_key=True), Column("key", String(500), nullable=False, index=True),
    _text("enterprise", required=True), _text("carrier", required=True), _text("batch", required=True), _text("origin", required=True),
    Column("sampled_on", Date()), Column("first_day", Date(), nullable=False), Column("last_day", Date(), nullable=False), _number("mass_t"),
    Column("lhv", Double(), nullable=False), _text("lhv_unit", required=True), _text("basis", required=True), _number("moisture_ratio"),
    _text("lab", 200), _text("report", 200), Column("withdrawn", Boolean(), nullable=False), *_checked(),
)

# --- edits: corrections that one person proposes and another checks; what happened to each stands in its history ---
EDIT: Final = Table(
    "edit", metadata, Column("id", _Id, primary_key=True),
    Column("register_key", Integer(), ForeignKey("register_key.register_key"), nullable=False, index=True),
    _text("kind", required=True), _instant("start", required=True), _instant("end"),
    _number("value"), _number("low"), _number("high"), _text("method"), _long("reason", required=True), _text("evidence"),
    _text("state", required=True), _text("maker", 200, required=True), _instant("made_at", required=True),
    _text("checker", 200), _instant("checked_at"), _instant("known_from"), _instant("known_to"),
    _text("withdrawn_by", 200), _long("withdrawn_because"),  # who asks that it count no longer, and why
)
EDIT_HISTORY: Final = Table(
    "edit_history", metadata, Column("id", _Id, primary_key=True), Column("edit", _Id, ForeignKey("edit.id"), nullable=False, index=True),
    _text("step", required=True), _text("by", 200, required=True), _instant("at", required=True), _long("reason"),
)
EVIDENCE: Final = Table(  # the files themselves lie in data_dir/evidence, named by their hash
    "evidence", metadata, Column("sha256", String(64), primary_key=True), _text("name", 200, required=True),
    Column("size_bytes", BigInteger(), nullable=False), _text("kept_by", 200, required=True), _instant("kept_at", required=True),
)

MINUTES: Final = Table(  # of consultations about a project; the file is kept as evidence
    "minutes", metadata, Column("id", _Id, primary_key=True), _text("project", required=True), _text("enterprise", required=True),
    Column("held_on", Date(), nullable=False), _text("subject", 500, required=True),
    Column("evidence", String(64), ForeignKey("evidence.sha256"), nullable=False), _text("kept_by", 200, required=True),
    _instant("kept_at", required=True), UniqueConstraint("project", "evidence"),
)

# --- faults of meters that a person reports, because the repair takes longer than it may ---
OUTAGE_REPORT: Final = Table(
    "outage_report", metadata, Column("id", _Id, primary_key=True), _text("enterprise", required=True), _text("meter", required=True),
    _instant("at", required=True), _instant("reported_at", required=True), _text("reported_by", 200, required=True), _long("report", required=True),
    Column("edit", _Id, ForeignKey("edit.id")),
)

# --- quarantine ---
QUARANTINE: Final = Table(
    "quarantine", metadata, Column("message", BigInteger(), primary_key=True, autoincrement=False),
    Column("index", Integer(), primary_key=True, autoincrement=False),
    _text("kind", required=True), _long("reasons", required=True), _text("enterprise", 200), _text("gateway", 200), _text("meter", 200),
    _text("register", 200), _instant("read_at"), _number("value"), _text("unit", 200), Column("raw", LargeBinary()), _long("topic"),
    _instant("received_at"), Column("readings", Integer()), Column("replayed_as", BigInteger()),
)
Index("ix_quarantine_gateway", QUARANTINE.c.enterprise, QUARANTINE.c.gateway, QUARANTINE.c.received_at)

# --- alerts, cases, notices ---
ALERT: Final = Table(
    "alert", metadata, Column("id", _Id, primary_key=True), _text("rule", required=True), _text("subject", 500, required=True),
    _text("enterprise", required=True), _text("severity", required=True), Column("value", Double(), nullable=False),
    Column("bound", Double(), nullable=False), _text("unit", required=True), _text("period", required=True),
    _instant("opened_at", required=True), _instant("updated_at", required=True), _instant("closed_at"),
    _long("text_zh", required=True), _long("text_en", required=True), _long("facts", required=True),
)
_open = ALERT.c.closed_at.is_(None)
Index("uq_alert_open", ALERT.c.rule, ALERT.c.subject, unique=True, sqlite_where=_open, postgresql_where=_open)
ALERT_HISTORY: Final = Table(
    "alert_history", metadata, Column("id", _Id, primary_key=True), Column("alert", _Id, ForeignKey("alert.id"), nullable=False, index=True),
    _text("kind", required=True), _text("severity", required=True), Column("value", Double(), nullable=False),
    Column("bound", Double(), nullable=False), _text("period", required=True), _instant("at", required=True),
    _long("text_zh", required=True), _long("text_en", required=True), _long("facts", required=True), _text("recorded_by", 200, required=True),
)
CASE: Final = Table(
    "case_file", metadata, Column("id", _Id, primary_key=True), Column("key", String(1000), nullable=False, unique=True),
    _text("enterprise", required=True), _text("product", 200, required=True), _text("indicator", 200, required=True), _text("line"),
    _text("standard", 200, required=True), _text("edition", 200, required=True),
    Column("period_start", Date(), nullable=False), Column("period_end", Date(), nullable=False),
    _text("state", required=True), _instant("opened_at", required=True),
    _long("text_zh", required=True), _long("text_en", required=True), _long("facts", required=True),
)
CASE_HISTORY: Final = Table(
    "case_history", metadata, Column("id", _Id, primary_key=True), Column("case_file", _Id, ForeignKey("case_file.id"), nullable=False, index=True),
    _text("state", required=True), _instant("at", required=True), _long("text_zh", required=True), _long("text_en", required=True),
    _text("recorded_by", 200, required=True),
)
OUTBOX: Final = Table(
    "outbox", metadata, Column("id", _Id, primary_key=True), _text("key", 1500, required=True), _text("channel", required=True),
    _long("title_zh", required=True), _long("title_en", required=True), _long("body_zh", required=True), _long("body_en", required=True),
    _instant("at", required=True), _long("facts", required=True), Column("tries", Integer(), nullable=False),
    _instant("next_try"), _instant("delivered_at"), _long("error"),  # neither next_try nor delivered_at: given up, a person must look
    UniqueConstraint("channel", "key"),
)
Index("ix_outbox_next_try", OUTBOX.c.next_try)

# --- audit and confirmations ---
AUDIT: Final = Table(
    "audit", metadata, Column("seq", _Id, primary_key=True, autoincrement=False), _instant("at", required=True), _text("by", 200, required=True),
    _text("action", required=True), _text("subject", 1000, required=True), _long("details", required=True), _text("hash", required=True),
)
AUDIT_HEAD: Final = Table(  # one row: the last link, so that a cut-off end is seen; also the lock that writers take turns by
    "audit_head", metadata, Column("id", Integer(), primary_key=True, autoincrement=False),
    Column("seq", _Id, nullable=False), _text("hash", required=True),
)
CONFIRMATION: Final = Table(
    "confirmation", metadata, Column("id", _Id, primary_key=True), _text("product", 200, required=True), _text("indicator", 200, required=True),
    _text("standard", 200, required=True), _text("confirmed_by", 200, required=True), Column("confirmed_on", Date(), nullable=False),
    _text("copy", 500, required=True), _long("remark"), _instant("known_from"),
)

# --- signs: what a person said who looked at one; the sign itself follows from the data ---
SIGN_NOTE: Final = Table(
    "sign_note", metadata, Column("id", _Id, primary_key=True), _text("enterprise", required=True), _text("rule", required=True),
    _text("subject", 200), _text("period", required=True), _long("note", required=True),
    _text("looked_at_by", 200, required=True), _instant("looked_at", required=True),
)

# --- budgets: goals of regions, parks and enterprises; reported and checked like figures ---
BUDGET: Final = Table(
    "budget", metadata, Column("id", _Id, primary_key=True), Column("key", String(500), nullable=False, index=True),
    _text("region"), _text("park"), _text("enterprise"), _text("measure", required=True), _text("kind", required=True),
    _text("period", required=True), _number("target"), _number("base"), _text("shares", 200),
    _text("source", 500, required=True), Column("withdrawn", Boolean(), nullable=False), *_checked(),
)
