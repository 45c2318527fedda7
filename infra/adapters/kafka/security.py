"""How Kafka's brokers are spoken to: in clear, over TLS, with a name and a password."""

import ssl
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    """`tls`: connections are encrypted, and the brokers checked, by this context. `mechanism`: who we are is said over SASL.

    Without either, everything goes in clear: for a broker on this machine.
    """

    tls: ssl.SSLContext | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str = ""
    password: str = field(default="", repr=False)

    def options(self) -> dict[str, Any]:
        """The keyword arguments by which aiokafka's clients and connections are told the same."""
        protocol = {(False, False): "PLAINTEXT", (True, False): "SSL", (False, True): "SASL_PLAINTEXT", (True, True): "SASL_SSL"}
        options: dict[str, Any] = {
            "security_protocol": protocol[self.tls is not None, self.mechanism is not None],
            "ssl_context": self.tls,
        }
        if self.mechanism is not None:
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options


IN_CLEAR = KafkaSecurity()
