"""Why a message or a reading was refused: a closed list, with the sentence that a person reads in both languages.

Five kinds share the list: what is wrong with a whole message (it is undecodable), what is wrong with one reading of a
message (its `fault`), the rules of `ingest.screen` (the name of the rule that was broken), what a store refuses, and what
is wrong with a gateway (a notice in its receipts: nothing is refused for it).
"""

from typing import Final, NamedTuple


class Text(NamedTuple):
    """One sentence in both languages."""

    zh: str
    en: str


MESSAGE_REASONS: Final[dict[str, Text]] = {
    "empty": Text("报文为空。", "The message is empty."),
    "payload_too_large": Text("报文超过允许的大小，请拆分后发送。", "The message is larger than allowed; split it."),
    "unpacked_too_large": Text("报文解压后超过4 MiB，请拆分后发送。", "The message unpacks to more than 4 MiB; split it."),
    "bad_compression": Text("报文无法解压。", "The message cannot be unpacked as gzip or zstd."),
    "not_json": Text("报文不是有效的JSON。", "The message is not valid JSON."),
    "too_many_names": Text("该网关的Sparkplug节点和设备名称过多。", "The gateway has more than 10,000 names of Sparkplug nodes and devices."),
    "not_sparkplug": Text("报文不是可读取的Sparkplug B（Protobuf）报文。", "The message is not a Sparkplug B payload (Protobuf) that can be read."),
    "not_an_object": Text("报文不是JSON对象。", "The message is not a JSON object."),
    "duplicate_key": Text("同一JSON对象中有重复的键。", "A key stands twice in one JSON object."),
    "wrong_version": Text("报文版本v不是1。", "The message's version v is not 1."),
    "unknown_topic": Text("主题不符合约定，也没有为其配置路由。", "The topic is not one of the contract and no route is set for it."),
    "topic_payload_mismatch": Text(
        "报文中的企业或网关与主题不一致。", "The enterprise or gateway in the message differs from the topic's."
    ),
    "no_sequence": Text("报文缺少有效的epoch或seq。", "The message lacks a valid epoch or seq."),
    "no_readings": Text("报文中没有readings、列式数据或lost。", "The message holds neither readings, nor columns, nor lost ranges."),
    "two_forms": Text("报文同时含有readings和列式数据。", "The message holds readings in row form and in column form; use one of them."),
    "unequal_columns": Text("列式数据各列长度不一致。", "The columns of the message differ in length."),
    "too_many_readings": Text("报文中的读数超过10000条，请拆分后发送。", "The message holds more than 10,000 readings; split it."),
    "bad_lost_range": Text("lost中的区间无效。", "A range in `lost` is not valid."),
    "bad_state": Text("网关状态报文无效。", "The message is not a valid gateway state."),
    "original_missing": Text("要重放的原报文已不在日志中。", "The message to be replayed is no longer in the journal."),
    "profile_failed": Text("平台的解析程序出错，报文已保留。", "The platform's decoder failed; the message is kept."),
}
READING_FAULTS: Final[dict[str, Text]] = {
    "not_an_object": MESSAGE_REASONS["not_an_object"],
    "duplicate_key": MESSAGE_REASONS["duplicate_key"],
    "bad_meter": Text("计量器具编号缺失或不是文本。", "The meter is missing or is not text."),
    "bad_register": Text("寄存器名缺失或不是文本。", "The register is missing or is not text."),
    "bad_timestamp": Text("时间戳缺失或无法识别。", "The time stamp is missing or cannot be read."),
    "timestamp_without_offset": Text("时间戳没有时区偏移。", "The time stamp has no offset from UTC."),
    "bad_value": Text("数值缺失或不是有限的数。", "The value is missing or is not a finite number."),
    "bad_unit": Text("单位不是文本。", "The unit is not text."),
    "bad_quality": Text("质量标记不是good、uncertain或bad。", "The quality is not one of good, uncertain, bad."),
    "device_error": Text("设备上报了错误代码而不是数值。", "The device reported an error instead of a value."),
    "encrypted_value": Text("数值已加密，平台无法读取。", "The value is encrypted; the platform cannot read it."),
    "unknown_period": Text("statType缺失，或不是0、1、2、3。", "The statType is missing or is not one of 0, 1, 2, 3."),
    "unknown_alias": Text(
        "已知的出生报文（BIRTH）中没有此指标，已请求重新发送；之后可重放。",
        "No birth message that is known has this metric; a new one was asked for, replay the message afterwards.",
    ),
    "unknown_field": Text("该字段不在此设备型号的字段表中。", "The field is not in the list of fields of this device type."),
}
SCREEN_RULES: Final[dict[str, Text]] = {
    "unknown_meter": Text("该企业没有登记此计量器具。", "This meter is not registered for the enterprise."),
    "unknown_register": Text("此计量器具没有登记该寄存器。", "This register is not registered for the meter."),
    "derived_register": Text("该寄存器由其他寄存器计算得出，没有读数。", "This register follows from others by a formula; it has no readings."),
    "register_not_valid": Text("读数时刻不在该寄存器登记的有效期内。", "The register was not in service at the time of the reading."),
    "wrong_gateway": Text("该寄存器登记在另一网关名下。", "The register belongs to another gateway."),
    "value_is_finite": Text("数值不是有限的数。", "The value is not a finite number."),
    "value_within_range": Text("数值超出该寄存器的量程。", "The value lies outside the register's range."),
    "not_from_the_future": Text("读数时刻在未来，请校准网关时钟。", "The time of the reading lies in the future; set the gateway's clock."),
    "not_too_old": Text("读数时刻过早，请校准网关时钟。", "The time of the reading is too long ago; check the gateway's clock."),
    "error_value": Text("该值是为此寄存器登记的仪表错误值，不是读数。", "The value is an error value of this register: the meter had no reading."),
    "unit_convertible": Text("单位无法换算为登记的单位。", "The unit cannot be converted to the registered one."),
}
STORE_REFUSALS: Final[dict[str, Text]] = {
    "store_refused": Text("存储系统拒绝了该读数，读数已保留在隔离区。", "The store refused the reading; it is kept in quarantine."),
}
NOTICES: Final[dict[str, Text]] = {
    "unknown_gateway": Text(
        "该网关未登记：平台不跟踪其报文序号，也不请求补传，请先登记。",
        "This gateway is not registered: its count is not followed and nothing is asked for again; have it registered.",
    ),
    "wrong_region": Text(
        "主题中的行政区划与登记不符，请改用登记的行政区划；回执发往登记的主题。",
        "The region in the topic is not the registered one; use that. Receipts go to the registered topic.",
    ),
}
REASONS: Final[dict[str, Text]] = {**MESSAGE_REASONS, **READING_FAULTS, **SCREEN_RULES, **STORE_REFUSALS, **NOTICES}


class UndecodableError(Exception):
    """A whole message cannot be read; `reason` is one of MESSAGE_REASONS. Never leaves the ingest folder."""

    def __init__(self, reason: str, *, epoch: str | None = None, seq: int | None = None) -> None:
        self.reason, self.epoch, self.seq = reason, epoch, seq
        super().__init__(reason)
