"""Who belongs to the platform: a private authority signs one certificate per installation, and both sides of a connection show theirs."""

import os
import shutil
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_AUTHORITY, _CERTIFICATE, _KEY = "authority.pem", "process.pem", "process.key"
_YEARS = 10


class IdentityUnusable(Exception):
    """The certificates cannot be read or do not fit each other; the text says which, and what to do."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """TLS for both directions. Whoever shows a certificate of the same authority is one of us; names are not compared."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def read_identity(authority: Path, certificate: Path, key: Path) -> PeerIdentity:
    """Raises IdentityUnusable."""
    contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in contexts:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(authority)
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise IdentityUnusable(
                f"the processes' certificates ({authority}, {certificate}, {key}) cannot be used: {error}. Give the paths of the "
                "authority's certificate, of this process's certificate and of its key, all PEM"
            ) from error
    return PeerIdentity(*contexts)


def local_identity(folder: Path) -> PeerIdentity:
    """The identity that all processes of this folder's installation share; made once, readable by its owner only.

    The authority's own key is thrown away: nothing else is ever signed by it. Raises IdentityUnusable.
    """
    if not folder.exists():
        _make(folder)
    return read_identity(folder / _AUTHORITY, folder / _CERTIFICATE, folder / _KEY)


def _make(folder: Path) -> None:
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "aybiza local authority")])
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "aybiza process")])
    authority = _certificate(name, name, authority_key.public_key(), authority_key, authority=True)
    certificate = _certificate(own, name, key.public_key(), authority_key, authority=False)
    making = folder.with_name(f"{folder.name}.{os.getpid()}")
    making.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    _write(making / _AUTHORITY, authority.public_bytes(pem))
    _write(making / _CERTIFICATE, certificate.public_bytes(pem))
    _write(making / _KEY, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    try:
        making.rename(folder)
    except OSError:
        # Another process was first: all take what it made.
        shutil.rmtree(making)


def _certificate(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePrivateKey, *, authority: bool
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
    )
    if not authority:
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usages, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
