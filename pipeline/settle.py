"""Journal -> decoded, screened, stored. Order: dirty marks, quarantine, append, then counts and cursor in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
import structlog

from config import failpoints, schemas
from config.settings import Settings
from ingest.decode import Decodings, decode
from ingest.routes import Routes
from ingest.screen import screen
from pipeline.site import Site
from store.journal import HISTORY, LIVE, Message

BATCH_MESSAGES = 500
PAUSE_S = 0.05
log = structlog.get_logger("settle")


@dataclass
class Settler:
    """Settles journal messages batch by batch; a crash anywhere repeats the batch, and repeating changes nothing."""

    site: Site
    _registers: pl.DataFrame = field(default_factory=lambda: schemas.empty(schemas.REGISTER))
    _version: str = ""

    def __post_init__(self) -> None:
        self._routes = Routes(self.site.settings.routes)

    def once(self, *, limit: int = BATCH_MESSAGES, upto: Mapping[int, int] | None = None) -> int:
        """Settle the next live messages of the journal, or the next of history where no live one waits; how many.

        Args:
            limit: messages at most.
            upto: by lane, the last message to settle; all where it is left out.

        Raises:
            ServiceUnavailableError, StoreFullError: nothing of the batch counts yet; call again.
        """
        for lane in (LIVE, HISTORY):
            messages = self.site.journal.read(self.site.ledger.cursor(lane), limit, lane)
            if upto is not None:
                messages = [message for message in messages if message.id <= upto[lane]]
            if messages:
                self._settle(messages, lane)
                return len(messages)
        return 0

    def _settle(self, messages: list[Message], lane: int) -> None:
        settings = self.site.settings
        decodings = decode(messages, self._routes, max_payload_bytes=settings.mqtt.max_payload_bytes)
        screened = screen(decodings.readings, self._known_registers(), settings.screen)
        batch = self.site.ledger.mark_dirty(_days_touched(screened.accepted, settings))
        self.site.quarantine.add(_quarantined(messages, decodings, screened.rejected))
        failpoints.reach("mid_batch")
        appended = self.site.readings().append(screened.accepted)
        if not appended.refused.is_empty():
            self.site.quarantine.add(_refused(appended.refused, self.site.register.names()))
        for message, enterprise, gateway, epoch, first, final in decodings.lost.iter_rows():
            log.info("reported lost", message=message, gateway=gateway, from_seq=first, to_seq=final)
            self.site.ledger.record_lost(enterprise, gateway, epoch, first, final)
        failpoints.reach("mid_settle")
        settlements = _settlements(decodings, appended.outcome, screened.rejected, appended.refused)
        self.site.ledger.settle(settlements, messages[-1].id, lane=lane, batch=batch)

    def _known_registers(self) -> pl.DataFrame:
        version = self.site.register.version()
        if version != self._version:
            self._registers = self.site.register.registers(history=True)
            self._version = version
        return self._registers


def _days_touched(accepted: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    day = pl.col("read_at").dt.convert_time_zone(settings.site.zone).dt.date()
    return accepted.select("register_key", day=day).unique()


def _quarantined(messages: list[Message], decodings: Decodings, rejected: pl.DataFrame) -> pl.DataFrame:
    sent = {message.id: message for message in messages}
    whole = [
        {
            "message": head["message"], "index": -1, "kind": "undecodable", "reasons": [head["reason"]],
            "enterprise": head["enterprise"], "gateway": head["gateway"], "raw": sent[head["message"]].payload,
            "topic": sent[head["message"]].topic, "received_at": sent[head["message"]].received_at,
        }
        for head in decodings.heads.filter(pl.col("outcome") == "undecodable").iter_rows(named=True)
    ]
    single = [
        {
            **{name: row[name] for name in QUARANTINED if name in row},
            "kind": "rejected", "reasons": row["broken_rules"], "raw": (row["raw"] or "").encode(), "topic": sent[row["message"]].topic,
        }
        for row in rejected.iter_rows(named=True)
    ]
    return pl.DataFrame([*whole, *single], schema=QUARANTINED) if whole or single else schemas.empty(QUARANTINED)


def _refused(refused: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    rows = refused.join(names, on="register_key", how="left").with_columns(
        kind=pl.lit("rejected"), reasons=pl.concat_list(pl.lit("store_refused")), topic=pl.lit(""),
        raw=pl.col("reason").cast(pl.Binary),  # what the store said
    )
    # Position within the message is gone by now; the instant makes the row unique instead.
    rows = rows.with_columns(index=(pl.struct("register_key", "read_at").hash() % 2_000_000_000).cast(pl.Int64) + 10_001)
    return schemas.conform(rows, QUARANTINED)


def _settlements(decodings: Decodings, outcome: pl.DataFrame, rejected: pl.DataFrame, refused: pl.DataFrame) -> pl.DataFrame:
    turned_down = pl.concat([rejected.select("message"), refused.select("message")]).group_by("message").agg(rejected=pl.len().cast(pl.UInt32))
    counted = ("stored", "duplicate", "conflicting", "rejected")
    rows = decodings.heads.drop(counted, strict=False).join(outcome, on="message", how="left").join(turned_down, on="message", how="left")
    return schemas.conform(rows.with_columns(pl.col(counted).fill_null(0)), schemas.SETTLEMENT)


QUARANTINED = pl.Schema({
    "message": pl.Int64(), "index": pl.Int64(), "kind": pl.String(), "reasons": pl.List(pl.String()),
    "enterprise": pl.String(), "gateway": pl.String(), "meter": pl.String(), "register": pl.String(),
    "read_at": schemas.INSTANT, "value": pl.Float64(), "unit": pl.String(), "raw": pl.Binary(), "topic": pl.String(), "received_at": schemas.INSTANT,
})
