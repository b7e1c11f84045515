"""Notices as lines of JSON at the end of a file."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from config import settings
from config.errors import ChannelUnavailableError
from config.findings import Notice

NEWLINE = b"\n"


class FileChannel:
    """One JSON object a line with the fields of Notice, appended and flushed to the disk before `send` returns."""

    def __init__(self, channel: settings.FileChannel, data_dir: Path) -> None:
        self.name = channel.name
        self.path = data_dir / channel.path  # an absolute path stays what it is

    def send(self, notice: Notice) -> None:
        line = json.dumps({**asdict(notice), "facts": dict(notice.facts), "at": notice.at.isoformat()}, ensure_ascii=False).encode() + NEWLINE
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        except OSError as error:
            raise ChannelUnavailableError(self.name, self.path, error) from error
        try:
            self._append(descriptor, line)
        except OSError as error:
            raise ChannelUnavailableError(self.name, self.path, error) from error
        finally:
            os.close(descriptor)

    @staticmethod
    def _append(descriptor: int, line: bytes) -> None:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != NEWLINE:
            line = NEWLINE + line  # a crash left half a line; it must not spoil this one
        try:
            while line:  # a disk that fills up takes a part first and refuses the rest
                line = line[os.write(descriptor, line):]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
