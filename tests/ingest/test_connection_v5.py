"""Laws of reading packets, without a network."""

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import MqttSettings
from ingest.connection import Received
from ingest.connection_v5 import ConnectionV5, _salvaged

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
topics = texts.filter(lambda text: text and not {*text} & {*"+#\0"})
messages = st.builds(
    lambda topic, payload, packet_id, dup, *others: Received(topic, payload, packet_id, dup and packet_id > 0, *others),
    topics, st.binary(max_size=300), st.integers(0, 65_535), st.booleans(), st.booleans(), st.none() | texts,
)


def packet(one: Received) -> bytes:
    qos = mqtt5.QoS.AT_LEAST_ONCE if one.packet_id else mqtt5.QoS.AT_MOST_ONCE
    return mqtt5.PublishPacket(
        one.topic, one.payload, qos=qos, packet_id=one.packet_id or None, duplicate=one.dup, retain=one.retained, content_type=one.content_type
    ).write()


def taken(data: bytes) -> tuple[list[Received], ConnectionV5]:
    """What a connection makes of bytes that have come."""
    got: list[Received] = []
    connection = ConnectionV5(MqttSettings(), "reader", on_message=got.append)
    connection._socket = object()
    connection._in += data
    connection._take_packets()
    connection._socket = None
    connection.close()
    return got, connection


@given(st.lists(messages, max_size=5))
def test_messages_are_read_as_they_were_written(sent):
    assert taken(b"".join(map(packet, sent)))[0] == sent


@given(messages, st.binary(max_size=20))
def test_what_is_salvaged_by_lengths_alone_is_what_the_codec_reads_but_for_the_properties(one, after):
    data = packet(one)
    assert _salvaged(data + after) == (one._replace(content_type=None), len(data))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the codec prints that a text is not UTF-8
@given(st.binary(max_size=400), st.sampled_from([0x30, 0x31, 0x32, 0x3A, 0x20, 0x40, 0x90, 0xD0, 0xE0]))
def test_no_bytes_break_it_and_all_that_is_kept_for_later_may_still_become_a_packet(data, first):
    got, connection = taken(bytes([first]) + data)
    assert all(isinstance(one, Received) for one in got)
    assert connection.gone == "closed" or not connection._left_over or connection._in


@given(messages, st.data())
def test_a_packet_that_is_cut_off_anywhere_waits_for_its_rest(one, data):
    whole = packet(one)
    cut = data.draw(st.integers(0, len(whole) - 1))
    got, connection = taken(whole[:cut])
    assert got == []
    assert bytes(connection._in) == whole[:cut]
