"""How the settings say that Kafka's brokers are spoken to."""

import ssl

from infra.adapters.kafka.security import KafkaSecurity
from infra.apps.terminal import VerbFailed
from infra.settings import Settings


def security_of(settings: Settings) -> KafkaSecurity:
    """Raises VerbFailed for an authority's file that cannot be used."""
    tls = None
    if settings.kafka_tls or settings.kafka_ca_file is not None:
        try:
            tls = ssl.create_default_context(cafile=settings.kafka_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise VerbFailed(f"AYBIZA_KAFKA_CA_FILE: {settings.kafka_ca_file} cannot be used: {error}") from error
    if not settings.kafka_username:
        return KafkaSecurity(tls=tls)
    password = settings.kafka_password.get_secret_value() if settings.kafka_password else ""
    return KafkaSecurity(tls=tls, mechanism=settings.kafka_mechanism, username=settings.kafka_username, password=password)
