import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from alerts.channels import Channel
from alerts.channels.file import FileChannel
from config import settings
from config.errors import ChannelUnavailableError
from config.findings import Notice

NOTICE = Notice("alert/1", "file", "题", "title", "正文", "body", datetime(2026, 11, 21, tzinfo=UTC), {"actual": 1.5, "clause": None})


@pytest.fixture
def channel(tmp_path: Path) -> FileChannel:
    return FileChannel(settings.FileChannel(path=Path("notices/outbox.jsonl")), tmp_path)


def test_a_notice_becomes_one_line_with_its_key(channel: Channel, tmp_path: Path) -> None:
    channel.send(NOTICE)
    channel.send(NOTICE)
    lines = [json.loads(line) for line in (tmp_path / "notices/outbox.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["key"] for line in lines] == ["alert/1", "alert/1"]
    assert lines[0]["body_zh"] == "正文"
    assert lines[0]["facts"] == {"actual": 1.5, "clause": None}
    assert lines[0]["at"] == "2026-11-21T00:00:00+00:00"


def test_half_a_line_left_by_a_crash_does_not_spoil_the_next(channel: FileChannel) -> None:
    channel.path.parent.mkdir()
    channel.path.write_text('{"key": "hal', encoding="utf-8")
    channel.send(NOTICE)
    lines = channel.path.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[1])["key"] == "alert/1"


def test_a_file_that_cannot_be_written_is_an_error_to_try_again(tmp_path: Path) -> None:
    blocked = FileChannel(settings.FileChannel(path=tmp_path), tmp_path)  # a folder stands there
    with pytest.raises(ChannelUnavailableError, match="outbox"):
        blocked.send(NOTICE)


def test_a_disk_that_fills_up_leaves_no_half_line(channel: FileChannel, monkeypatch: pytest.MonkeyPatch) -> None:
    channel.send(NOTICE)
    before = channel.path.read_bytes()
    write, calls = os.write, []

    def partly(descriptor: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:10])

    monkeypatch.setattr(os, "write", partly)
    with pytest.raises(ChannelUnavailableError, match="No space left"):
        channel.send(NOTICE)
    assert channel.path.read_bytes() == before
