"""How well a gateway keeps the contract: a report over messages that it sent, live or on `sandbox`, or that lie in a file.

A pure function of its arguments. Every check has a verdict, the evidence for it and what to do; a verdict is data, never an error.
"""

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any, Final, Literal, NamedTuple

import polars as pl

from config.settings import ScreenSettings
from config.units import known_units
from ingest.certificates import Facts
from ingest.enrolment import user_of
from ingest.reasons import REASONS, UndecodableError
from ingest.reasons import Text as Text
from ingest.routes import OWN_TOPIC, Routes
from ingest.sandbox import tried
from store.journal import Message

Verdict = Literal["pass", "warn", "fail", "not_checked"]
TITLES: Final[Mapping[str, Text]] = {
    "arrival": Text("报文到达", "Messages arrive"),
    "topic": Text("主题", "Topics"),
    "schema": Text("报文格式", "Schema"),
    "sequence": Text("序号", "Sequence"),
    "clock": Text("时钟", "Clock"),
    "registers": Text("计量器具与寄存器", "Meters and registers"),
    "units": Text("计量单位", "Units"),
    "values": Text("数值", "Values"),
    "rate": Text("频率与大小", "Rate and size"),
    "compression": Text("压缩", "Compression"),
    "state": Text("在线状态", "State"),
    "certificate": Text("证书", "Certificate"),
}
AHEAD_S: Final = 5.0  # a clock kept by NTP is never so far ahead
LATE_S: Final = 60.0  # the freshest reading of a message is this old at most where clock and sending are in order
SPREAD_S: Final = 60.0
BATCH: Final = 10  # readings a message under which more than one message a second is waste
OFTEN_PER_S: Final = 1.0
NEAR_LIMIT: Final = 0.9
WORTH_PACKING_BYTES: Final = 1024
RENEW_WITHIN: Final = timedelta(days=30)
_LISTED: Final = 10
_SHOWN_CHARS: Final = 64
_WEIGHT: Final[Mapping[Verdict, int]] = {"fail": 0, "warn": 1, "pass": 2, "not_checked": 3}
_OF_REGISTERS: Final = ("unknown_meter", "unknown_register", "register_not_valid", "derived_register", "wrong_gateway")
_OF_CLOCK: Final = ("not_from_the_future", "not_too_old")
_PACKED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_NOTHING: Final = Text("", "")


class Check(NamedTuple):
    """One thing that was looked at."""

    id: str
    verdict: Verdict
    evidence: Text
    remedy: Text = _NOTHING  # empty where nothing is to be done


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, and what was found."""

    enterprise: str
    gateway: str
    at: datetime
    since: datetime | None  # when the first of the messages arrived
    messages: int
    readings: int
    checks: Sequence[Check]

    @property
    def verdict(self) -> Verdict:
        """The worst of all checks."""
        return min((check.verdict for check in self.checks), key=_WEIGHT.__getitem__)

    def as_json(self) -> dict[str, Any]:
        """The report as plain values; instants as ISO text."""
        rows = [
            {"id": one.id, "title": TITLES[one.id]._asdict(), "verdict": one.verdict, "evidence": one.evidence._asdict(),
             "remedy": one.remedy._asdict()}
            for one in self.checks
        ]
        since = self.since and self.since.isoformat(timespec="milliseconds")
        return {**asdict(self), "verdict": self.verdict, "at": self.at.isoformat(timespec="milliseconds"), "since": since, "checks": rows}


class _Sent(NamedTuple):
    """The messages and what they said."""

    own: Sequence[Message]  # of this gateway; the last three are about these alone
    others: Sequence[Message]
    arrived: bool  # over the network, so that the time of arrival says something
    heads: pl.DataFrame
    readings: pl.DataFrame
    rejected: pl.DataFrame


def report(
    messages: Sequence[Message], registers: pl.DataFrame, bounds: ScreenSettings, *, enterprise: str, gateway: str, region: str, at: datetime,
    routes: Routes, max_payload_bytes: int, arrived: bool = True, state: str | None = None, certificate: Facts | None = None,
) -> Report:
    """Look at what a gateway sent.

    Args:
        messages: in the order of their arrival. Those of other senders (a file may have some) are told, not looked into.
        registers: REGISTER with its history.
        bounds: of the rules on a single reading.
        enterprise: credit code.
        gateway: id.
        region: where it is registered.
        at: now.
        routes: who sends on which topic.
        max_payload_bytes: what a gateway may send at once.
        arrived: whether they came over the network; False: they were read from a file, and their arrival says nothing.
        state: what it last said of itself (online, offline), where that is known.
        certificate: what its certificate says, where one was given.
    """
    own, others = _parted(messages, routes, enterprise, gateway)
    found, screened = tried(own, routes, registers, bounds, max_payload_bytes)
    sent = _Sent(own, others, arrived, found.heads, found.readings, screened.rejected)
    said = found.states[-1].state.state if found.states else state
    checks = [_arrival(sent)]
    if own or others:
        checks.append(_topic(sent, region))
    if own:
        mine = registers.filter(pl.col("enterprise") == enterprise, pl.col("known_to").is_null())
        checks += [
            _schema(sent), _sequence(sent), _clock(sent, bounds), _registers(sent, mine, gateway, at), _units(sent, mine), _values(sent),
            _rate(sent, max_payload_bytes), _compression(sent), _state(said),
        ]
    checks.append(_certificate(certificate, user_of(enterprise, gateway), at))
    since = min((one.received_at for one in own), default=None)
    return Report(enterprise, gateway, at, since, len(own), found.readings.height, checks)


def _parted(messages: Iterable[Message], routes: Routes, enterprise: str, gateway: str) -> tuple[list[Message], list[Message]]:
    own: list[Message] = []
    others: list[Message] = []
    for one in messages:
        try:
            sender = routes.sender(one.topic, one.identity)
            mine = (sender.enterprise, sender.gateway) == (enterprise, gateway)
        except UndecodableError:
            mine = False
        (own if mine else others).append(one)
    return own, others


def _arrival(sent: _Sent) -> Check:
    if not sent.own:
        return Check(
            "arrival", "fail", Text("这段时间内没有收到该网关的报文。", "Nothing of this gateway arrived in this time."),
            Text("检查地址、用户名和主题；MQTT 3.1.1客户端收不到拒绝原因，请用MQTT 5或查看代理日志。",
                 "Check address, user name and topics. MQTT 3.1.1 cannot tell a refusal: use MQTT 5, or look at the broker's log."),
        )
    kinds = defaultdict[str, int](int)
    for one in sent.own:
        own = OWN_TOPIC.fullmatch(one.topic)
        kinds[own["kind"] if own else one.topic] += 1
    listed = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    return Check("arrival", "pass", Text(f"收到{len(sent.own)}条报文：{listed}。", f"{len(sent.own)} messages: {listed}."))


def _topic(sent: _Sent, region: str) -> Check:
    elsewhere = {own["region"] for one in sent.own if (own := OWN_TOPIC.fullmatch(one.topic)) and own["region"] != region}
    problems = []
    if elsewhere:
        problems.append(Text(
            f"主题中的区划代码为{_list(elsewhere)}，登记的是{region}", f"the topics say region {_list(elsewhere)}, registered is {region}",
        ))
    if sent.others:
        topics = _list({one.topic for one in sent.others})
        problems.append(Text(f"{len(sent.others)}条报文不属于该网关：{topics}", f"{len(sent.others)} messages are not this gateway's: {topics}"))
    if not problems:
        return Check("topic", "pass", Text("主题与登记一致。", "The topics are those of the register."))
    return Check("topic", "fail", _joined(problems), Text(
        "使用开户时给出的主题；回执只发到登记的区划之下。", "Use the topics told at enrolment; receipts go to the registered region only.",
    ))


def _schema(sent: _Sent) -> Check:
    unread = sent.heads.filter(pl.col("outcome") == "undecodable", pl.col("reason") != "no_sequence")
    faulty = sent.readings.filter(pl.col("fault").is_not_null())
    if unread.is_empty() and faulty.is_empty():
        return Check("schema", "pass", Text(
            f"{sent.heads.height}条报文、{sent.readings.height}条读数均符合v1格式（docs/payloads）。",
            f"All {sent.heads.height} messages and {sent.readings.height} readings fit version 1 (docs/payloads).",
        ))
    problems = [_reasons(unread["reason"], Text("无法读取的报文", "messages that cannot be read")),
                _reasons(faulty["fault"], Text("无法读取的读数", "readings that cannot be read"))]
    return Check("schema", "fail", _joined(problems), Text(
        "对照docs/payloads中的JSON Schema修改报文。", "Compare the message with the JSON Schema in docs/payloads.",
    ))


def _sequence(sent: _Sent) -> Check:
    if sent.heads.filter(pl.col("reason") == "no_sequence").height:
        return Check("sequence", "fail", Text("报文缺少有效的epoch或seq。", "Messages lack a valid epoch or seq."), Text(
            "每条报文都要带epoch（计数起点）和seq（1、2、3……）。", "Give every message an epoch (start of the count) and a seq (1, 2, 3 ...).",
        ))
    counts = _numbers(sent)
    if not counts:
        return Check("sequence", "not_checked", Text("没有带序号的报文。", "No message with a number."))
    payloads = {one.id: one.payload for one in sent.own}
    gaps, repeated, reused, backwards = [], 0, 0, 0
    for (_, epoch), numbers in counts.items():
        live = [seq for seq, _, is_live in numbers if is_live]
        come = sorted({seq for seq, _, _ in numbers if live and seq >= min(live)})
        gaps += [f"{epoch}: {low + 1}-{high - 1}" for low, high in pairwise(come) if high > low + 1]
        backwards += sum(later < earlier for earlier, later in pairwise(live))
        first: dict[int, int] = {}
        for seq, message, _ in numbers:
            again = first.setdefault(seq, message)
            repeated += again != message
            reused += payloads[again] != payloads[message]
    epochs = {epoch for _, epoch in counts}
    odd = [epoch for epoch in epochs if not _is_instant(epoch)]
    numbered = sum(map(len, counts.values()))
    evidence = Text(
        f"带序号的报文{numbered}条，epoch {len(epochs)}个，缺号区间{len(gaps)}个，重发{repeated}条，逆序{backwards}次",
        f"Numbered messages {numbered}, epochs {len(epochs)}, gaps {len(gaps)}, sent again {repeated}, out of order {backwards}",
    )
    if reused:
        return Check("sequence", "fail", Text(
            f"{evidence.zh}；有{reused}条不同的报文使用了已用过的序号。", f"{evidence.en}; {reused} different messages carry a number that was used.",
        ), Text("一个序号只用于一条报文；计数丢失后须换新的epoch。", "One number is for one message; after losing the count start a new epoch."))
    findings = []
    if gaps:
        findings.append(Text(f"缺号：{_list(gaps)}（补传后即补齐）", f"missing: {_list(gaps)} (sending them again closes this)"))
    if backwards:
        findings.append(Text("报文未按序号发送", "messages are not sent in the order of their numbers"))
    if len(epochs) > 1:
        findings.append(Text("这段时间内计数曾重新开始", "the count began anew within this time"))
    if odd:
        findings.append(Text(f"epoch不是带时区偏移的ISO时间：{_list(odd)}", f"the epoch is no ISO instant with offset: {_list(odd)}"))
    if not findings:
        return Check("sequence", "pass", Text(f"{evidence.zh}。", f"{evidence.en}."))
    return Check("sequence", "warn", _joined([evidence, *findings]), Text(
        "序号和epoch要断电保存；epoch写计数起点的时间；缺号用backfill补传，确已丢失的用lost说明。",
        "Keep seq and epoch over a power cut; write the start of the count as epoch; send what is missing on backfill, or tell it as lost.",
    ))


def _clock(sent: _Sent, bounds: ScreenSettings) -> Check:
    live = [one.id for one in sent.own if sent.arrived and not one.topic.endswith("/backfill")]
    rows = sent.readings.filter(pl.col("message").is_in(live), pl.col("read_at").is_not_null())
    if rows.is_empty():
        return Check("clock", "not_checked", Text("没有实时到达的读数可供比较。", "No reading that came in live to compare with."))
    offsets = rows.group_by("message").agg(s=(pl.col("received_at").first() - pl.col("read_at").max()).dt.total_milliseconds() / 1000)["s"].sort()
    middle, spread = float(median(offsets)), float(offsets.quantile(0.95, "nearest") - offsets.quantile(0.05, "nearest"))  # type: ignore[operator]
    freshest = float(offsets[0])
    evidence = Text(
        f"到达时刻减最新读数时刻：中位数{_span(middle, 0)}，波动{_span(spread, 0)}（5%～95%），最小{_span(freshest, 0)}",
        f"Arrival minus newest reading: median {_span(middle, 1)}, spread {_span(spread, 1)} (5 % to 95 %), least {_span(freshest, 1)}",
    )
    ahead = sent.rejected.filter(pl.col("message").is_in(live), pl.col("broken_rules").list.contains("not_from_the_future")).height
    ntp = Text("用NTP校时；ts写读数的时刻，不是发送的时刻。", "Keep the clock by NTP; ts is the time of the reading, not of the sending.")
    if ahead:
        return Check("clock", "fail", Text(
            f"{evidence.zh}；{ahead}条读数超前{bounds.clock_skew_s}秒以上，被拒绝。",
            f"{evidence.en}; {ahead} readings are more than {bounds.clock_skew_s} s ahead and were refused.",
        ), ntp)
    findings = []
    if middle < -AHEAD_S:
        findings.append(Text("时钟偏快", "the clock is ahead"))
    if freshest > LATE_S:
        findings.append(Text("时钟偏慢，或读数发送过晚", "the clock is behind, or readings are sent late"))
    if spread > SPREAD_S:
        findings.append(Text("时差不稳定", "the difference is not steady"))
    if not findings:
        return Check("clock", "pass", Text(f"{evidence.zh}。", f"{evidence.en}."))
    return Check("clock", "warn", _joined([evidence, *findings]), ntp)


def _registers(sent: _Sent, known: pl.DataFrame, gateway: str, at: datetime) -> Check:
    broken = _broken(sent, _OF_REGISTERS.__contains__)
    valid = (pl.col("valid_from").is_null() | (pl.col("valid_from") <= at)) & (pl.col("valid_to").is_null() | (pl.col("valid_to") > at))
    owing = pl.col("kind").ne_missing("derived")
    names = pl.concat_str("meter", "register", separator="/")
    expected = known.filter(valid & owing, pl.col("gateway") == gateway).select(names).to_series()
    silent = sorted(set(expected) - set(sent.readings.select(names).to_series()))
    came = sent.readings.select(names).to_series().drop_nulls().n_unique()
    findings = []
    if silent:
        findings.append(Text(f"已登记但没有读数：{_list(silent)}", f"registered, but no reading came: {_list(silent)}"))
    if not broken.is_empty():
        listed = _list(broken.select(names).to_series().drop_nulls())
        reasons = _reasons(broken["rule"], Text("不被接受的读数", "readings that are not accepted"))
        return Check("registers", "fail", _joined([reasons, Text(listed, listed), *findings]), Text(
            "用平台登记的计量器具编号和寄存器名；缺少的请运行单位登记。",
            "Use meters and registers as the platform has them; have the operator register what is missing.",
        ))
    if silent:
        return Check("registers", "warn", _joined(findings), Text(
            "检查这些表计的采集；停用的请运行单位撤销登记。", "Check that these are read; have the operator withdraw what is out of service.",
        ))
    if not came:
        return Check("registers", "not_checked", Text("没有读数。", "No readings."))
    return Check("registers", "pass", Text(f"{came}个寄存器均已登记，且无缺失。", f"All {came} registers are known, and none is missing."))


def _units(sent: _Sent, known: pl.DataFrame) -> Check:
    said = sent.readings.filter(pl.col("unit").is_not_null())
    if said.is_empty():
        return Check("units", "pass", Text("报文未写单位，按登记的单位计。", "No unit is sent; the registered one counts."))
    strange = said.filter(~pl.col("unit").is_in(known_units()))["unit"].unique()
    refused = _broken(sent, "unit_convertible".__eq__)
    if len(strange) or not refused.is_empty():
        pairs = refused.join(known.select("meter", "register", registered="unit"), on=["meter", "register"], how="left").select(
            pl.format("{}/{}: {} -> {}", "meter", "register", "unit", pl.col("registered").fill_null("?"))
        ).to_series()
        findings = [Text(f"不认识的单位：{_list(strange)}", f"units nobody knows: {_list(strange)}")] if len(strange) else []
        if len(pairs):
            findings.append(Text(f"不能换算为登记的单位：{_list(pairs)}", f"cannot be converted to the registered unit: {_list(pairs)}"))
        return Check("units", "fail", _joined(findings), Text(
            "用登记的单位，或干脆不写单位。", "Send the registered unit, or none at all.",
        ))
    units = _list(said["unit"])
    return Check("units", "pass", Text(f"单位均可识别、可换算：{units}。", f"Every unit is known and fits: {units}."))


def _values(sent: _Sent) -> Check:
    elsewhere = {*_OF_REGISTERS, *_OF_CLOCK[:1], "unit_convertible", *sent.readings["fault"].drop_nulls()}
    broken = _broken(sent, lambda rule: rule not in elsewhere)
    if sent.readings.is_empty():
        return Check("values", "not_checked", Text("没有读数。", "No readings."))
    if broken.is_empty():
        return Check("values", "pass", Text("数值均在量程之内。", "Every value is within its range."))
    listed = _list(broken.select(pl.format("{}/{} = {}", "meter", "register", "value")).to_series().drop_nulls())
    reasons = _reasons(broken["rule"], Text("不被接受的读数", "readings that are not accepted"))
    return Check("values", "fail", _joined([reasons, Text(listed, listed)]), Text(
        "检查倍率、量程、时间和表计的故障值。", "Check factor, range, time, and what the meter sends on a fault.",
    ))


def _rate(sent: _Sent, max_payload_bytes: int) -> Check:
    spoken = sent.heads.filter(pl.col("outcome") != "state")
    sizes = [len(one.payload) for one in sent.own if not one.topic.endswith("/state")]
    if not sizes:
        return Check("rate", "not_checked", Text("只有状态报文。", "Only state messages."))
    readings, size, largest = float(median(spoken["decoded"])), median(sizes), max(sizes)
    seconds = (sent.own[-1].received_at - sent.own[0].received_at).total_seconds()
    per_s = (len(sizes) - 1) / seconds if sent.arrived and seconds > 0 else None
    pace = Text("", "") if per_s is None else Text(f"每秒{per_s:.2f}条报文，", f"{per_s:.2f} messages a second, ")
    evidence = Text(
        f"{pace.zh}每条报文{readings:g}条读数（中位数），{size:.0f}字节（最大{largest}字节，上限{max_payload_bytes}）",
        f"{pace.en}{readings:g} readings a message (median), {size:.0f} bytes (largest {largest} of {max_payload_bytes})",
    )
    findings, remedies = [], []
    if per_s is not None and per_s > OFTEN_PER_S and readings < BATCH:
        findings.append(Text("小报文过多", "many small messages"))
        remedies.append(Text("把多条读数并入一条报文，优先用列式。", "Put many readings into one message, best in column form."))
    if largest > NEAR_LIMIT * max_payload_bytes:
        findings.append(Text("报文接近或超过大小上限", "messages near or over the limit of size"))
        remedies.append(Text("拆分或压缩大报文。", "Split or compress large messages."))
    if findings:
        return Check("rate", "warn", _joined([evidence, *findings]), Text("".join(one.zh for one in remedies), " ".join(one.en for one in remedies)))
    return Check("rate", "pass", Text(f"{evidence.zh}。", f"{evidence.en}."))


def _compression(sent: _Sent) -> Check:
    packed = sum(one.payload.startswith(_PACKED) for one in sent.own)
    largest = max((one.payload for one in sent.own if not one.payload.startswith(_PACKED)), key=len, default=b"")
    if len(largest) < WORTH_PACKING_BYTES:
        return Check("compression", "pass", Text(
            f"{packed}条报文已压缩；其余很小，无须压缩。" if packed else "报文很小，无须压缩。",
            f"{packed} messages are compressed; the others are small." if packed else "The messages are small; nothing to gain.",
        ))
    ratio = len(zlib.compress(largest)) / len(largest)
    return Check("compression", "warn", Text(
        f"{len(sent.own) - packed}条报文未压缩；最大的{len(largest)}字节用gzip可压缩到{ratio:.0%}。",
        f"{len(sent.own) - packed} messages are not compressed; gzip would make the largest ({len(largest)} bytes) {ratio:.0%} of that.",
    ), Text("流量按量计费时用gzip或zstd压缩；不压缩也会接受。", "Where traffic costs money use gzip or zstd; plain messages are accepted too."))


def _state(said: str | None) -> Check:
    if said == "online":
        return Check("state", "pass", Text("网关报告了在线。", "The gateway says that it is online."))
    found = Text("网关最近报告的是离线。", "The gateway last said offline.") if said == "offline" else Text(
        "网关没有报告过状态。", "The gateway has never told its state.",
    )
    return Check("state", "warn", found, Text(
        "连接后在state主题上发布保留的online，并把保留的offline设为遗嘱。",
        "Publish online, retained, on state after connecting; set offline, retained, as last will.",
    ))


def _certificate(facts: Facts | None, user: str, at: datetime) -> Check:
    if facts is None:
        return Check("certificate", "not_checked", Text("未给出证书文件。", "No certificate file was given."))
    span = f"{facts.not_before:%Y-%m-%d} - {facts.not_after:%Y-%m-%d}"
    findings = []
    if facts.name != user:
        findings.append(Text(f"主体名为{facts.name or '空'}，应为{user}", f"its subject is {facts.name or 'empty'}, it has to be {user}"))
    if not facts.not_before <= at <= facts.not_after:
        findings.append(Text("不在有效期内", "it is not valid now"))
    if not facts.for_clients:
        findings.append(Text("不能用于客户端认证", "it is not for clients"))
    if facts.issued_by_ca is False:
        findings.append(Text("不是由给出的CA签发", "it was not issued by the given authority"))
    renew = Text("用tcewatch gateway enroll --cert重新签发。", "Make a new one: tcewatch gateway enroll --cert.")
    if findings:
        return Check("certificate", "fail", _joined([Text(f"有效期{span}", f"valid {span}"), *findings]), renew)
    if facts.not_after - at < RENEW_WITHIN:
        days = (facts.not_after - at).days
        return Check("certificate", "warn", Text(f"有效期{span}，还剩{days}天。", f"Valid {span}: {days} days are left."), renew)
    chain = Text("，由给出的CA签发", ", issued by the given authority")
    if facts.issued_by_ca is None:
        chain = Text("，未与CA核对", ", not compared with an authority")
    return Check("certificate", "pass", Text(f"有效期{span}{chain.zh}。", f"Valid {span}{chain.en}."))


def _numbers(sent: _Sent) -> dict[tuple[bool, str], list[tuple[int, int, bool]]]:
    """The seq, the message and whether it is no back-fill, in order of arrival, by (on sandbox, epoch): the sandbox counts for itself."""
    kinds = {one.id: one.topic.rpartition("/")[2] for one in sent.own}
    found = defaultdict[tuple[bool, str], list[tuple[int, int, bool]]](list)
    for message, epoch, seq in sent.heads.select("message", "epoch", "seq").drop_nulls().iter_rows():
        found[kinds[message] == "sandbox", epoch].append((seq, message, kinds[message] != "backfill"))
    return dict(found)


def _broken(sent: _Sent, wanted: Callable[[str], bool]) -> pl.DataFrame:
    """The refused readings by rule, of some rules."""
    rules = sent.rejected.explode("broken_rules").rename({"broken_rules": "rule"})
    chosen = [rule for rule in rules["rule"].unique().drop_nulls() if wanted(rule)]
    return rules.filter(pl.col("rule").is_in(chosen))


def _reasons(codes: pl.Series, counted: Text) -> Text:
    """How many, and why: the reasons with their counts."""
    if codes.is_empty():
        return _NOTHING
    counts = codes.value_counts(sort=True).rows()
    zh = "；".join(f"{REASONS[code].zh.rstrip('。')}（{code}，{count}）" for code, count in counts[:_LISTED])
    en = "; ".join(f"{REASONS[code].en.rstrip('.')} ({code}, {count})" for code, count in counts[:_LISTED])
    return Text(f"{counted.zh}（{len(codes)}条）：{zh}", f"{counted.en} ({len(codes)}): {en}")


def _joined(parts: Sequence[Text]) -> Text:
    some = [part for part in parts if part.en]
    en = "; ".join(part.en for part in some)
    return Text("；".join(part.zh for part in some) + "。", f"{en[:1].upper()}{en[1:]}.")


def _span(seconds: float, language: int) -> str:
    """A span of time in a unit that fits; language 0 is Chinese, 1 English."""
    for size, *units in ((86_400, "天", " d"), (3600, "小时", " h")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.1f}{units[language]}"
    return f"{seconds:.1f}{('秒', ' s')[language]}"


def _list(names: Iterable[object]) -> str:
    distinct = sorted({str(name)[:_SHOWN_CHARS] for name in names})
    return ", ".join(distinct[:_LISTED]) + (f", ... ({len(distinct)})" if len(distinct) > _LISTED else "")


def _is_instant(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
