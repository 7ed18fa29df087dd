"""Certificates for tests: an authority of our own, and what it signed."""

from __future__ import annotations

import datetime as dt
import ipaddress
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, a server of this machine, a client called `certified`; keys are of mode 0600."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def make_certificates(folder: Path, *, names: Sequence[str] = ("localhost",)) -> Certificates:
    """Make them in a folder.

    Args:
        folder: Exists.
        names: The server's names; its address 127.0.0.1 comes on top.
    """
    authority_key, authority = _authority()
    made = Certificates(
        *(folder / name for name in ("authority.pem", "server.pem", "server.key", "client.pem", "client.key"))
    )
    _write(made.authority, _pem(authority))
    server_key, server = _signed("a server", authority, authority_key, names=names)
    client_key, client = _signed("certified", authority, authority_key)
    _write(made.server, _pem(server))
    _write(made.server_key, _key_pem(server_key))
    _write(made.client, _pem(client))
    _write(made.client_key, _key_pem(client_key))
    return made


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _authority() -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(
        f"Icetap's tests {secrets.token_hex(4)}"
    )  # two authorities of one name are taken for each other
    builder = _builder(key, subject=name, issuer=name).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return key, builder.sign(key, hashes.SHA256())


def _signed(
    subject: str,
    authority: x509.Certificate,
    authority_key: EllipticCurvePrivateKey,
    *,
    names: Sequence[str] = (),
) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(key, subject=_name(subject), issuer=authority.subject)
    if names:
        others = [*map(x509.DNSName, names), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
    return key, builder.sign(authority_key, hashes.SHA256())


def _builder(
    key: EllipticCurvePrivateKey, *, subject: x509.Name, issuer: x509.Name
) -> x509.CertificateBuilder:
    from cryptography import x509

    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def _name(common_name: str) -> x509.Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
