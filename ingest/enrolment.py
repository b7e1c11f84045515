"""A gateway's access to the broker: a name, a secret and its own topics, in the files `passwords` and `acl` of Mosquitto.

Topics are exact, never a pattern with %u: a gateway's id is unique inside its enterprise only (docs/decisions/0005-broker.md).
The broker reads the files at its start and on SIGHUP; then it also ends the connections of those that are not let in any more.
"""

import hashlib
import os
import re
import secrets
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.errors import BadInputError, Problem
from ingest.routes import OWN_ROOT, OWN_TOPIC

WRITES: Final = ("readings", "backfill", "state", "sandbox")
READS: Final = ("receipts", "requests")
_PASSWORD_BYTES: Final = 24
_SALT_BYTES: Final = 12  # versions before 2.0.18 take no other length
# Enough for random bytes, which nobody can guess; the broker has one thread and counts them at each connection.
_ROUNDS: Final = 101


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a gateway is at the broker."""

    region: str
    enterprise: str
    gateway: str
    routes: tuple[str, ...] = ()  # topic filters of the routes that are its own

    def __post_init__(self) -> None:
        if not OWN_TOPIC.fullmatch(f"{self.root}/readings"):
            raise BadInputError([Problem(
                f"gateway {self.gateway!r} of {self.enterprise!r} in {self.region!r}", "makes no topic of the contract",
                "A region has 6 digits, an enterprise 18 letters and digits, a gateway 1 to 64 ASCII letters, digits, - or _.",
            )])

    @property
    def user(self) -> str:
        """User name, client id and subject of a certificate; unique, since the credit code before the first _ is."""
        return user_of(self.enterprise, self.gateway)

    @property
    def root(self) -> str:
        """What its topics begin with."""
        return f"{OWN_ROOT}{self.region}/{self.enterprise}/{self.gateway}"

    @property
    def publishes(self) -> list[str]:
        """The topics that it may write."""
        return [*(f"{self.root}/{kind}" for kind in WRITES), *self.routes]

    @property
    def subscribes(self) -> list[str]:
        """The topics that it may read: on those of a route a format may have commands."""
        return [*(f"{self.root}/{kind}" for kind in READS), *self.routes]


class AccessFiles:
    """The two files of a broker. Callers see to it that nobody else changes them at the same time."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds `acl` (the shipped one to begin with) and, from the first gateway on, `passwords`."""
        self._acl, self._passwords = folder / "acl", folder / "passwords"

    def grant(self, identity: Identity, password: str | None) -> None:
        """Let a gateway in, on its own topics only; what it had before is replaced. Without a password only a certificate opens.

        Raises:
            BadInputError: a file is not there, cannot be read or cannot be written; neither is half written.
        """
        block = [f"user {identity.user}", *(f"topic write {topic}" for topic in identity.publishes),
                 *(f"topic read {topic}" for topic in identity.subscribes)]
        acl = _without_block(_read(self._acl), identity.user).rstrip("\n")
        passwords = _without_line(self._read_passwords(), identity.user)
        if password is not None:
            passwords += f"{identity.user}:{password_hash(password)}\n"
        self._replace(self._acl, "\n".join([acl, "", *block, ""]))
        self._replace(self._passwords, passwords)

    def revoke(self, user: str) -> bool:
        """Take everything from a user; whether there was anything.

        Raises:
            BadInputError: as for `grant`.
        """
        acl, passwords = _read(self._acl), self._read_passwords()
        kept_acl, kept_passwords = _without_block(acl, user), _without_line(passwords, user)
        if kept_passwords != passwords:
            self._replace(self._passwords, kept_passwords)
        if kept_acl != acl:
            self._replace(self._acl, kept_acl)
        return (kept_acl, kept_passwords) != (acl, passwords)

    def _read_passwords(self) -> str:
        return _read(self._passwords) if self._passwords.exists() else ""

    def _replace(self, path: Path, text: str) -> None:
        """Write a file anew, whole or not at all, for the same owner and the same readers."""
        like = (path if path.exists() else self._acl).stat()
        mode = like.st_mode & 0o777 if path.exists() else 0o600
        beside = path.with_name(f".{path.name}.new")
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                if (os.geteuid(), os.getegid()) != (like.st_uid, like.st_gid):
                    os.fchown(file.fileno(), like.st_uid, like.st_gid)
                os.fchmod(file.fileno(), mode)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            remedy = "Run this as the owner of the broker's files, or as root."
            raise BadInputError([Problem(str(path), f"cannot be written ({error.strerror})", remedy)]) from error


def user_of(enterprise: str, gateway: str) -> str:
    """The user name of a gateway."""
    return f"{enterprise}_{gateway}"


def new_password() -> str:
    """A password that nobody can guess: 192 random bits as letters, digits, - and _."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def password_hash(password: str, salt: bytes | None = None) -> str:
    """What `mosquitto_passwd` writes behind the user name: PBKDF2 with SHA-512, read by every Mosquitto from 2.0 on."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return f"$7${_ROUNDS}${b64encode(salt).decode()}${b64encode(key).decode()}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        remedy = "Set [mqtt] access_dir to the folder of the broker's `acl` (deploy/mosquitto has the first one), and run this as its owner."
        raise BadInputError([Problem(str(path), f"cannot be read ({what})", remedy)]) from error


def _without_block(acl: str, user: str) -> str:
    return re.sub(rf"(?m)^user[ \t]+{re.escape(user)}[ \t]*\n(?:topic[ \t].*\n?|[ \t]*\n)*", "", acl)


def _without_line(passwords: str, user: str) -> str:
    return "".join(f"{line}\n" for line in passwords.splitlines() if line.partition(":")[0] != user)
