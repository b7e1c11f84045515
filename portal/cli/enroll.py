"""`tcewatch gateway enroll`: give a gateway its access to the broker, renew it, or take it away."""

import getpass
import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from config.errors import BadInputError, Problem
from config.settings import MqttSettings
from ingest import certificates
from ingest.enrolment import AccessFiles, Identity, new_password, user_of
from pipeline.conformity import region_of
from pipeline.site import Site
from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json
from store import audit

RELOAD = "systemctl reload mosquitto (in containers: docker compose kill -s HUP mosquitto)"


def enroll(
    enterprise: Annotated[str, typer.Argument(help="Credit code of the enterprise.")],
    gateway: Annotated[str, typer.Argument(help="Id of the gateway, as registered.")],
    cert: Annotated[bool, typer.Option("--cert", help="A private key and a certificate request instead of a password.")] = False,
    ca_cert: Annotated[Path | None, typer.Option(help="With --cert: sign the certificate with this authority (PEM) ...")] = None,
    ca_key: Annotated[Path | None, typer.Option(help="... and its key (PEM, no password).")] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the certificate is valid.")] = 730,
    out: Annotated[Path, typer.Option(help="Folder for key, request or certificate, made where it is not there.")] = Path(),
    revoke: Annotated[bool, typer.Option("--revoke", help="Take the access away.")] = False,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a registered gateway in at the broker, on its own topics only. Again: new credentials, and the old ones end."""
    if (ca_cert is None) != (ca_key is None) or (ca_cert is not None and not cert) or (cert and revoke):
        raise typer.BadParameter("--ca-cert and --ca-key go together, with --cert; --revoke stands alone")
    with closing(Site(settings_from(settings))) as site:
        if revoke:
            told = _revoke(site, enterprise, gateway)
        else:
            region = region_of(site, enterprise, gateway)
            routes = tuple(route.topic for route in site.settings.routes if (route.enterprise, route.gateway) == (enterprise, gateway))
            told = _grant(site, Identity(region, enterprise, gateway, routes), cert, _signer(ca_cert, ca_key), days, out)
    if as_json:
        show_json({**told, "reload": RELOAD})
        return
    for name, value in told.items():
        for line in value if isinstance(value, list) else [value]:
            typer.echo(f"{name.replace('_', ' '):<18}{line}")
    if "password" in told:
        typer.echo("Keep the password now: it is stored as a hash and cannot be shown again.", err=True)
    typer.echo(f"The broker must read its files again: {RELOAD}", err=True)


def _grant(site: Site, identity: Identity, cert: bool, signer: tuple[bytes, bytes] | None, days: int, out: Path) -> dict[str, Any]:
    files, now = _files(site), datetime.now(UTC)
    password = None if cert else new_password()
    secret: dict[str, Any] = {"password": password}
    details: dict[str, Any] = {"user": identity.user, "region": identity.region, "by": "certificate" if cert else "password"}
    if cert:
        key, request = certificates.new_request(identity.user)
        kept = {"request_file": (".csr", request)}
        if signer is not None:
            signed = certificates.sign(request, *signer, at=now, days=days)
            kept = {"certificate_file": (".pem", signed)}
            details["valid_to"] = certificates.examine(signed, None).not_after.isoformat()
        secret = {name: _keep(out / f"{identity.user}{suffix}", content) for name, (suffix, content) in {"key_file": (".key", key), **kept}.items()}
    with site.database.session() as session:  # also keeps two enrolments from writing at the same time
        audit.append(session, by=_by(), action="gateway.enroll", subject=f"{identity.enterprise}/{identity.gateway}", details=details)
        files.grant(identity, password)
    return {
        **_address(site.settings.mqtt), "user": identity.user, "client_id": identity.user, **secret,
        "publish": identity.publishes, "subscribe": identity.subscribes,
    }


def _revoke(site: Site, enterprise: str, gateway: str) -> dict[str, Any]:
    user = user_of(enterprise, gateway)
    with site.database.session() as session:
        audit.append(session, by=_by(), action="gateway.revoke", subject=f"{enterprise}/{gateway}", details={"user": user})
        if not _files(site).revoke(user):
            raise BadInputError([Problem(f"gateway {gateway} of {enterprise}", "has no access", "Nothing is to be done; check the two names.")])
    return {"user": user, "revoked": "yes; a certificate in this name opens no topic any more, put it on its authority's revocation list too"}


def _files(site: Site) -> AccessFiles:
    folder = site.settings.mqtt.access_dir
    if folder is None:
        remedy = "Set it to the folder of the broker's files `passwords` and `acl`, for example /etc/mosquitto."
        raise BadInputError([Problem("settings [mqtt] access_dir", "is not set", remedy)])
    return AccessFiles(folder)


def _signer(ca_cert: Path | None, ca_key: Path | None) -> tuple[bytes, bytes] | None:
    return None if ca_cert is None or ca_key is None else (read_file(ca_cert), read_file(ca_key))


def read_file(path: Path) -> bytes:
    """The bytes of a file that the user names.

    Raises:
        BadInputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError([Problem(str(path), f"cannot be read ({error.strerror})", "Check the name and who may read it.")]) from error


def _keep(path: Path, content: bytes) -> str:
    """Write a file that only its owner can read."""
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        beside.replace(path)
    except OSError as error:
        raise BadInputError([Problem(str(path), f"cannot be written ({error.strerror})", "Choose another folder with --out.")]) from error
    return str(path)


def _address(mqtt: MqttSettings) -> dict[str, Any]:
    parts = urlsplit(mqtt.gateway_url or f"mqtt://{mqtt.host}:{mqtt.port}")
    tls = parts.scheme == "mqtts"
    return {"host": parts.hostname, "port": parts.port or (8883 if tls else 1883), "tls": "yes" if tls else "no"}


def _by() -> str:
    return f"{getpass.getuser()} (command line)"
