"""A certificate authority of a test's own, and what it signs."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.adapters.rpc.certificate import ServerCertificate

_PEM = serialization.Encoding.PEM
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])


class Authority:
    """`pem` is its own certificate; what it signs lies in the folder and counts for a year."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        own = self._made(_NAME, self._key.public_key()).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.pem = own.sign(self._key, hashes.SHA256()).public_bytes(_PEM)

    def signed(self, name: str) -> ServerCertificate:
        """For 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = self._made(subject, key.public_key()).add_extension(here, critical=False).sign(self._key, hashes.SHA256())
        chain = self.folder / f"{name}.pem"
        chain.write_bytes(certificate.public_bytes(_PEM))
        self.key_of(name).write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return ServerCertificate(chain, self.key_of(name))

    def key_of(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def _made(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_NAME)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=365))
        )
