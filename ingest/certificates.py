"""Keys, requests and certificates of gateways. The subject's common name is the user name at the broker."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from config.errors import BadInputError, Problem

MAX_NAME: Final = 64  # of a common name (RFC 5280, ub-common-name)
_BEFORE: Final = timedelta(hours=1)  # a gateway's clock may be behind


class Request(NamedTuple):
    """A new key and the request for a certificate on it, both as PEM."""

    key: bytes
    request: bytes


class Facts(NamedTuple):
    """What a certificate says, and what is wrong with it."""

    name: str | None  # common name of the subject
    not_before: datetime
    not_after: datetime
    for_clients: bool
    issued_by_ca: bool | None  # None: no CA was given to compare with


def new_request(name: str) -> Request:
    """A key on the curve P-256 and a request for a client certificate in that name.

    Raises:
        BadInputError: the name is longer than a certificate may carry.
    """
    if len(name) > MAX_NAME:
        remedy = f"A certificate's name has at most {MAX_NAME} characters: register the gateway under a shorter id, or enrol it with a password."
        raise BadInputError([Problem(f"gateway {name}", f"makes a name of {len(name)} characters", remedy)])
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(_named(name)).add_extension(_FOR_CLIENTS, critical=False)
    return Request(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
    )


def sign(request: bytes, ca: bytes, ca_key: bytes, *, at: datetime, days: int) -> bytes:
    """A certificate (PEM) on a request of ours, valid for so many days.

    Raises:
        BadInputError: the CA's certificate or key cannot be read, they do not belong together, or it is no CA or ends sooner.
    """
    issuer, key = _one(ca, "--ca-cert"), _key(ca_key)
    asked = x509.load_pem_x509_csr(request)
    ends = at + timedelta(days=days)
    problems = []
    if issuer.public_key() != key.public_key():
        problems.append(Problem("--ca-key", "is not the key of --ca-cert", "Give the two that belong together."))
    if not _is_ca(issuer):
        problems.append(Problem("--ca-cert", "is no certificate of an authority (basicConstraints CA)", "Give the certificate that signs others."))
    if issuer.not_valid_after_utc < ends:
        problems.append(Problem("--days", f"goes beyond the end of the CA's own certificate, {issuer.not_valid_after_utc:%Y-%m-%d}",
                                "Give fewer days, or renew the CA first."))
    if problems:
        raise BadInputError(problems)
    built = x509.CertificateBuilder().subject_name(asked.subject).issuer_name(issuer.subject).public_key(asked.public_key()).serial_number(
        x509.random_serial_number()
    ).not_valid_before(at - _BEFORE).not_valid_after(ends).add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    built = built.add_extension(_FOR_CLIENTS, critical=False).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False  # type: ignore[arg-type]  # a CA signs, so its key can
    )
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    return built.sign(key, digest).public_bytes(serialization.Encoding.PEM)


def examine(certificate: bytes, ca: bytes | None) -> Facts:
    """Look at a gateway's certificate (PEM, with those between it and the CA behind it).

    Raises:
        BadInputError: one of the two cannot be read.
    """
    chain = _all(certificate, "--certificate")
    own = chain[0]
    names = own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        for_clients = ExtendedKeyUsageOID.CLIENT_AUTH in own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        for_clients = True  # without the extension it is for every use
    issued = None if ca is None else _reaches(chain, _all(ca, "--ca-cert"))
    return Facts(str(names[0].value) if names else None, own.not_valid_before_utc, own.not_valid_after_utc, for_clients, issued)


_FOR_CLIENTS: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _reaches(chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate]) -> bool:
    """Whether each certificate was issued by the next one, and the last or the first that was by an authority."""
    for position, one in enumerate(chain):
        if any(_issued(one, authority) for authority in authorities):
            return True
        if position + 1 == len(chain) or not _issued(one, chain[position + 1]):
            return False
    return False


def _issued(one: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return _is_ca(by)


def _is_ca(one: x509.Certificate) -> bool:
    try:
        return one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _one(pem: bytes, where: str) -> x509.Certificate:
    return _all(pem, where)[0]


def _all(pem: bytes, where: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise BadInputError([Problem(where, "cannot be read as a certificate", "Give a PEM file (BEGIN CERTIFICATE).")]) from error


def _key(pem: bytes) -> CertificateIssuerPrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(pem, None)  # type: ignore[return-value]  # what cannot sign fails at `sign`
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadInputError([Problem("--ca-key", "cannot be read as a private key", "Give a PEM file without a password.")]) from error
