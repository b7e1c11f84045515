"""Replays: what lies in quarantine goes through decoding and the rules again, once its cause is mended.

A replay is a journal message of the door "replay" that names the message it repeats, and holds no copy of it: so a rebuild
gives the same, and the journal tells what was replayed and when. The original's topic, identity, content type and limits
count, and its instant of arrival for all rules on time; the register rows are those known at the replay.
"""

from collections.abc import Callable, Collection, MutableMapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
import polars as pl

from config.schemas import DECODED, INSTANT, SETTLEMENT, conform
from ingest.decode import Decodings, Routes, decode
from ingest.reasons import UndecodableError
from store.journal import HISTORY, Arrival, Message

DOOR: Final = "replay"
REPLAYED: Final = "replayed"  # the outcome of a replay; one that could not be read again has a reason beside it
_ORIGINAL_MISSING: Final = UndecodableError("original_missing")


class _Order(msgspec.Struct):
    replay: int  # the id of the message
    indexes: list[int] | None = None  # positions of the readings in it; None: the whole message


_decoder: Final = msgspec.json.Decoder(_Order)


def arrival(original: Message, indexes: Collection[int] | None, at: datetime) -> Arrival:
    """The journal entry that replays a message, or (indexes) some of its readings."""
    payload = msgspec.json.encode(_Order(original.id, None if indexes is None else sorted(indexes)))
    return Arrival(DOOR, original.topic, original.identity, original.content_type, payload, at, lane=HISTORY)


def original_of(message: Message, get: Callable[[int], Message | None]) -> Message | None:
    """The message that a gateway or file sent: the message itself, or what it replays; None where the journal has that no more."""
    return get(_decoder.decode(message.payload).replay) if message.door == DOOR else message


def decode_all(
    messages: Sequence[Message], get: Callable[[int], Message | None], routes: Routes, *, max_payload_bytes: int, memory: MutableMapping[str, str],
) -> tuple[Sequence[Message], Decodings]:
    """Decode journal messages, replays among them.

    Args:
        messages: what the journal holds, in its order.
        get: a message of the journal by its id.
        routes: as for `decode`.
        max_payload_bytes: as for `decode`.
        memory: as for `decode`; a replay reads it and changes nothing.

    Returns:
        The messages, a replay with door, topic, payload and arrival of its original; and what they say. Heads of replays have the
        outcome `replayed`, their readings `judged_at` beside the columns of DECODED. A replay neither states nor asks for anything.
    """
    replays = [message for message in messages if message.door == DOOR]
    if not replays:
        return messages, decode(messages, routes, max_payload_bytes=max_payload_bytes, memory=memory)
    fresh = decode([message for message in messages if message.door != DOOR], routes, max_payload_bytes=max_payload_bytes, memory=memory)
    originals = {message.id: original_of(message, get) for message in replays}
    opened = {
        message.id: original._replace(id=message.id, lane=message.lane)
        for message in replays if (original := originals[message.id]) is not None
    }
    again = decode(list(opened.values()), routes, max_payload_bytes=max_payload_bytes, memory=dict(memory), replayed=True)
    readings = _asked_for(again.readings, replays)
    heads = pl.concat([fresh.heads, _heads(again.heads, readings, replays)]).sort("message")
    return [opened.get(message.id, message) for message in messages], Decodings(
        pl.concat([fresh.readings, readings], how="diagonal").with_columns(pl.coalesce("judged_at", "received_at").alias("judged_at")).sort(
            "message", "index"
        ),
        heads, pl.concat([fresh.lost, again.lost]), fresh.states, fresh.commands,
    )


def _asked_for(readings: pl.DataFrame, replays: Sequence[Message]) -> pl.DataFrame:
    """DECODED with `judged_at`: of each replay the readings that it names."""
    orders = pl.DataFrame(
        [(message.id, _decoder.decode(message.payload).indexes, message.received_at) for message in replays], orient="row",
        schema={"message": pl.Int64(), "indexes": pl.List(pl.UInt32()), "judged_at": INSTANT},
    )
    joined = readings.join(orders, on="message", how="left", maintain_order="left")
    wanted = joined.filter(pl.col("indexes").is_null() | pl.col("index").is_in(pl.col("indexes")))
    return wanted.select(*DECODED, "judged_at")


def _heads(heads: pl.DataFrame, readings: pl.DataFrame, replays: Sequence[Message]) -> pl.DataFrame:
    """SETTLEMENT, one row for each replay."""
    counted = readings.group_by("message").agg(decoded=pl.len())
    ids = pl.DataFrame({"message": [message.id for message in replays]}, schema={"message": pl.Int64()})
    rows = ids.join(heads.drop("decoded"), on="message", how="left").join(counted, on="message", how="left")
    return conform(rows.with_columns(
        reason=pl.when(pl.col("outcome").is_null()).then(pl.lit(_ORIGINAL_MISSING.reason)).otherwise("reason"), outcome=pl.lit(REPLAYED),
        decoded=pl.col("decoded").fill_null(0), stored=0, duplicate=0, conflicting=0, rejected=0,
    ), SETTLEMENT)
