"""A certificate authority of a test's own, and what it signs for the loopback address."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_PEM = serialization.Encoding.PEM
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])
_HERE = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")])


class Signed(NamedTuple):
    """Where a certificate and its key lie."""

    chain: Path
    key: Path


class Authority:
    """`pem` is its own certificate, which lies in the folder as `authority.pem` beside what it signs. All count for some days."""

    def __init__(self, folder: Path, *, days: int = 365) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._days = folder, days
        self._key = ec.generate_private_key(ec.SECP256R1())
        own = self._made(_NAME, self._key.public_key()).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.pem = own.sign(self._key, hashes.SHA256()).public_bytes(_PEM)
        (folder / "authority.pem").write_bytes(self.pem)

    def signed(self, name: str) -> Signed:
        """A server's certificate, as `NAME.pem` and `NAME.key`."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._made(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_HERE, critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        made = Signed(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        made.chain.write_bytes(certificate.public_bytes(_PEM))
        made.key.write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return made

    def _made(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_NAME)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=self._days))
        )
