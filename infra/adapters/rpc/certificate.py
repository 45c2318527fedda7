"""The certificate by which the gRPC view is known; a renewed one is taken for the next connection, without a restart."""

import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509


class CertificateUnusable(OSError):
    """The certificate or its key cannot be read, or they do not fit each other; the text says which files."""


class InClear(OSError):
    """Keys would cross a network in clear, and nobody said that they may."""


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A chain of certificates and its key, in two files (PEM)."""

    chain: Path
    key: Path

    def credentials(self) -> Any:
        """For the server. Raises CertificateUnusable."""
        first = self._stamp()
        return grpc.dynamic_ssl_server_credentials(self._read(), self._renewed(first))

    def expires_at(self) -> datetime:
        """Raises CertificateUnusable."""
        try:
            return x509.load_pem_x509_certificate(self.chain.read_bytes()).not_valid_after_utc
        except (OSError, ValueError) as cause:
            raise CertificateUnusable(f"{self.chain} holds no certificate (PEM): {cause}") from cause

    def _renewed(self, known: tuple[int, int]) -> Callable[[], Any]:
        def look() -> Any:
            nonlocal known
            try:
                stamp = self._stamp()
                if stamp == known:
                    return None
                fresh = self._read()
            except CertificateUnusable:
                # Half of a renewal lies there: the next connection looks again, this one has the certificate from before.
                return None
            known = stamp
            return fresh

        return look

    def _stamp(self) -> tuple[int, int]:
        try:
            return self.chain.stat().st_mtime_ns, self.key.stat().st_mtime_ns
        except OSError as cause:
            raise CertificateUnusable(f"the certificate of the gRPC view cannot be read: {cause}") from cause

    def _read(self) -> Any:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.chain, self.key)
            return grpc.ssl_server_certificate_configuration([(self.key.read_bytes(), self.chain.read_bytes())])
        except (OSError, ssl.SSLError) as cause:
            raise CertificateUnusable(f"{self.chain} and {self.key} are no certificate with its key (PEM): {cause}") from cause


def guarded(host: str, chain: Path | None, key: Path | None, *, in_clear: bool) -> ServerCertificate | None:
    """What to serve with; None: in clear, to one's own machine, or where that was said. Raises InClear."""
    if chain is not None and key is not None:
        return ServerCertificate(chain, key)
    if not in_clear and not _is_loopback(host):
        raise InClear(
            f"gRPC would be in clear at {host}: give AYBIZA_GRPC_CERTIFICATE_FILE and AYBIZA_GRPC_KEY_FILE, "
            "or say AYBIZA_GRPC_IN_CLEAR=true where something before it ends TLS"
        )
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
