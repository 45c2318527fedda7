"""A provider's certificate for the loopback address, which unmodified SDKs trust when the environment says so."""

import ssl
from collections.abc import Mapping
from pathlib import Path

from tests.authority import Authority


def make_authority(folder: Path) -> Mapping[str, str]:
    """Writes `authority.pem`, `provider.pem` and `provider.key`; returns the environment of a process that trusts them."""
    Authority(folder, days=2).signed("provider")
    trusted = str(folder / "authority.pem")
    return {"SSL_CERT_FILE": trusted, "AWS_CA_BUNDLE": trusted, "REQUESTS_CA_BUNDLE": trusted}


def serving_context(folder: Path) -> ssl.SSLContext:
    """What the provider shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "provider.pem", folder / "provider.key")
    return context
