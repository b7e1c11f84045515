"""What would become of a message on `sandbox`: it is read and screened as a live one, answered, and never stored."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

import msgspec
import polars as pl

from config.schemas import REJECTED, SETTLEMENT, conform, empty
from config.settings import ScreenSettings
from ingest.decode import Decodings, decode
from ingest.gateways import LISTED, compose
from ingest.routes import OWN_ROOT, OWN_TOPIC, Routes
from ingest.screen import Screened, screen
from store.journal import Message

_AT_ONCE: Final = 100  # messages: 64 KiB each, and what they unpack to
_WHO: Final = ["enterprise", "gateway", "epoch"]


def tried(messages: Sequence[Message], routes: Routes, registers: pl.DataFrame, bounds: ScreenSettings, max_payload_bytes: int) -> tuple[
    Decodings, Screened
]:
    """Read and screen messages, those on `sandbox` as if they had come on `readings`.

    Args:
        messages: of the journal or of a file, in their order.
        routes: who sends on which topic.
        registers: REGISTER with its history.
        bounds: of the rules.
        max_payload_bytes: what a gateway may send at once.
    """
    live = [one._replace(topic=f"{one.topic.removesuffix('/sandbox')}/readings") if _is_sandbox(one.topic) else one for one in messages]
    found = decode(live, routes, max_payload_bytes=max_payload_bytes)
    return found, screen(found.readings, registers, bounds)


def answers(
    messages: Iterable[Message], registers: pl.DataFrame, bounds: ScreenSettings, *, max_payload_bytes: int,
    regions: Mapping[tuple[str, str], str], at: datetime,
) -> list[tuple[str, bytes]]:
    """Topic and payload of the receipts for sandbox messages, marked `"sandbox": true`: one for each gateway and epoch.

    `stored` is what would have been accepted; what is stored already is not looked up, so nothing is a duplicate. Messages
    without a readable epoch and seq are answered together, with null for both.

    Args:
        messages: journal messages on `sandbox`.
        registers: REGISTER with its history.
        bounds: of the rules.
        max_payload_bytes: what a gateway may send at once.
        regions: registered region of (enterprise, gateway): where it listens.
        at: when the receipts are written.
    """
    heads, refused = [empty(SETTLEMENT)], [empty(REJECTED)]
    sent_from: dict[tuple[str, str], str] = {}
    waiting = iter(messages)
    while few := list(islice(waiting, _AT_ONCE)):
        found, screened = tried(few, Routes(), registers, bounds, max_payload_bytes)
        sent_from |= {(own["enterprise"], own["gateway"]): own["region"] for one in few if (own := OWN_TOPIC.fullmatch(one.topic))}
        counts = [
            rows.group_by("message").agg(pl.len().cast(pl.UInt32).alias(name)) for name, rows in
            (("stored", screened.accepted), ("rejected", screened.rejected))
        ]
        joined = found.heads.drop("stored", "rejected").join(counts[0], on="message", how="left").join(counts[1], on="message", how="left")
        heads.append(conform(joined.with_columns(pl.col("stored", "rejected").fill_null(0)), SETTLEMENT))
        refused.append(screened.rejected.group_by("message", maintain_order=True).head(LISTED))
    told = []
    for group in pl.concat(heads).partition_by(_WHO, maintain_order=True):
        enterprise, gateway = group.select("enterprise", "gateway").row(0)
        rows = pl.concat(refused).join(group, on="message", how="semi").rename({"broken_rules": "reasons"}).head(LISTED).to_dicts()
        rows += [
            {"message": message, "index": -1, "meter": None, "register": None, "reasons": [reason]} for message, reason in
            group.filter(pl.col("outcome") == "undecodable").select("message", "reason").head(LISTED).iter_rows()
        ]
        receipt = {**compose(group, rows, contiguous_seq=0, at=at), "sandbox": True}
        receipt["rejected"] = receipt["rejected"][:LISTED]
        region = regions.get((enterprise, gateway), sent_from[enterprise, gateway])
        told.append((f"{OWN_ROOT}{region}/{enterprise}/{gateway}/receipts", msgspec.json.encode(receipt)))
    return told


def _is_sandbox(topic: str) -> bool:
    own = OWN_TOPIC.fullmatch(topic)
    return own is not None and own["kind"] == "sandbox"
