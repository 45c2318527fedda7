"""Everything the environment may say to us: read once in a composition root, checked there, and passed on in narrow values."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

PREFIX = "AYBIZA_"
# Beside the program when it runs from a checkout, so that a verb finds the same stack from any folder; else where it is started.
_BESIDE = Path(__file__).resolve().parents[1]
HOME = _BESIDE if (_BESIDE / "pyproject.toml").is_file() else Path.cwd()

Port = Annotated[int, Field(ge=1, le=65535)]
LogicalModel = Literal["fast", "default", "complex", "thinking"]


class SettingsInvalid(Exception):
    """The environment says something we cannot use; the text names each variable, and never repeats a secret."""


def _either(name: str, *plain: str) -> AliasChoices:
    return AliasChoices(PREFIX + name, *plain)


class Settings(BaseSettings):
    """One frozen picture of the environment. `None` for an address means: the local stack, or the provider's own."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", populate_by_name=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    state_dir: Path = HOME / ".state"
    cache_dir: Path = HOME / ".cache"
    # The local key file that wraps every tenant's key; None: one in the state folder.
    key_file: Path | None = None

    kafka_bootstrap_servers: str | None = Field(None, validation_alias=_either("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"))
    database_url: SecretStr | None = Field(None, validation_alias=_either("DATABASE_URL", "DATABASE_URL"))
    # A PostgreSQL with TimescaleDB, for the contract tests; None: one in a container, where there is Docker.
    timescale_dsn: SecretStr | None = None
    redis_url: SecretStr | None = Field(None, validation_alias=_either("REDIS_URL", "REDIS_URL"))

    # The address the carrier knows us by, which its signatures cover; None: the loopback address we listen on.
    public_url: str | None = Field(None, pattern=r"^https?://[^/\s?#]+(/[^\s?#]*)?$")
    http_host: str = "127.0.0.1"
    # None: a free port, remembered in the state folder.
    http_port: Port | None = None
    # Where the gRPC view listens, at the same host; None: a free port.
    grpc_port: Port | None = None
    # By which the gRPC view is known (PEM: the chain, its key); None: it is served in clear, at a loopback address or where that was said.
    grpc_certificate_file: Path | None = None
    grpc_key_file: Path | None = None
    grpc_in_clear: bool = False
    media_host: str = "127.0.0.1"
    media_port: Port | None = None
    # Where the carrier reaches this process's media socket, each worker's its own; None: under the public address.
    media_url: str | None = Field(None, pattern=r"^wss?://[^/\s?#]+(/[^\s?#]*)?$")
    # Whether a call whose worker is lost is taken up by another, or ended.
    resume_calls: bool = True
    # How often a voice worker asks the carrier for calls that nobody has any more; oftener where it has just taken over from another.
    lookout_seconds: float = Field(60.0, ge=1, le=3600)
    # How long a voice worker that is told to stop lets its calls come to their own end, before it hands them over to others.
    drain_seconds: float = Field(30.0, ge=0, le=3600)
    # Where facts of calls wait for a log that is away, on a disk that outlives the process, and how much of it they may take; None: the
    # state folder.
    spool_dir: Path | None = None
    spool_bytes: int = Field(64 << 20, ge=1 << 20)

    # Where this process takes what other processes forward to it. The host is also what they dial: a name that they can reach.
    peer_host: str = "127.0.0.1"
    peer_port: Port | None = None
    # By which processes know each other, each way (PEM); None: made once, in the state folder.
    peer_ca_file: Path | None = None
    peer_certificate_file: Path | None = None
    peer_key_file: Path | None = None
    # The partitions that this process should own: `all`, or `2/3` for the second of three processes; None: the consumer group decides.
    owned: str | None = Field(None, pattern=r"^(all|[1-9][0-9]*/[1-9][0-9]*)$")
    # After so long without a sign of life the group gives a process's partitions to others. Commands do not wait for it.
    session_seconds: float = Field(3.0, ge=1, le=60)
    # A name of its own for this process: started again under it within the session, it keeps its partitions; None: it is a new member.
    instance: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,100}$")

    # Where spans and figures go (OTLP over HTTP, protobuf); None: nobody asks for them.
    otlp_endpoint: str | None = Field(
        None, pattern=r"^https?://\S+$", validation_alias=_either("OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    )

    # How Kafka's brokers are spoken to: over TLS, held to the machine's authorities or to one's own (PEM), and by which name.
    kafka_tls: bool = False
    kafka_ca_file: Path | None = None
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_username: str = ""
    kafka_password: SecretStr | None = None

    # Whether parts of the journal are packed by the projections themselves once nothing is appended to them any more, and for how long
    # nothing must have been. `aybiza journal pack` packs them in any case.
    pack_journal: bool = True
    pack_journal_after_hours: float = Field(24.0, ge=0)

    # In production the log's doctor refuses what on a developer's machine it only mentions.
    surroundings: Literal["local", "production"] = "local"
    # Whose right to write to the log is as it should be, where the brokers check rights: `User:owners`, more of them with commas between.
    log_writers: str = Field("", pattern=r"^(User:[^\s,]+(,User:[^\s,]+)*)?$")

    # Whether webhooks are sent to addresses of this network too, which is for work on one's own machine.
    webhooks_private: bool = False

    # The sites whose pages may ask the API from a browser, with short-lived tokens: `https://app.example`, with commas between.
    browser_origins: str = Field("", pattern=r"^(https?://[a-z0-9.-]+(:[0-9]+)?(,https?://[a-z0-9.-]+(:[0-9]+)?)*)?$")

    # A JSON array of the only queries that the GraphQL view answers; None: any.
    graph_queries_file: Path | None = None

    engines: Literal["embedded", "providers"] = "embedded"
    twilio_account_sid: str | None = Field(
        None, pattern=r"^AC[0-9a-fA-F]{32}$", validation_alias=_either("TWILIO_ACCOUNT_SID", "TWILIO_ACCOUNT_SID")
    )
    twilio_auth_token: SecretStr | None = Field(None, validation_alias=_either("TWILIO_AUTH_TOKEN", "TWILIO_AUTH_TOKEN"))
    twilio_api_base_url: str | None = Field(None, pattern=r"^https?://\S+$")
    deepgram_api_key: SecretStr | None = Field(None, validation_alias=_either("DEEPGRAM_API_KEY", "DEEPGRAM_API_KEY"))
    # Nova is asked for a final when our detector hears an end; Flux says by itself when a turn is over (English only).
    deepgram_model: Literal["nova-3", "flux"] = "nova-3"
    deepgram_base_url: str | None = Field(None, pattern=r"^(https?|wss?)://\S+$")
    # Where Deepgram is asked next when it fails: other addresses of its, with commas between.
    deepgram_other_base_urls: str = Field("", pattern=r"^((https?|wss?)://[^\s,]+(,(https?|wss?)://[^\s,]+)*)?$")
    # Where recordings and signals of calls lie: in this bucket of S3 (at an endpoint of one's own, if named); None: in the state folder.
    recordings_bucket: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9.-]{2,62}$")
    recordings_endpoint_url: str | None = Field(None, pattern=r"^https?://\S+$")
    # Credentials for Bedrock come the way every AWS program finds them; only what differs stands here.
    bedrock_region: str = Field("us-east-1", validation_alias=_either("BEDROCK_REGION", "AWS_REGION"))
    bedrock_endpoint_url: str | None = Field(None, pattern=r"^https?://\S+$")
    # Where Bedrock is asked next when it fails: other regions, with commas between; an address of one's own as `region=https://…`.
    bedrock_other_regions: str = Field("", pattern=r"^([a-z0-9-]+(=https?://[^\s,]+)?(,[a-z0-9-]+(=https?://[^\s,]+)?)*)?$")
    # Who speaks where Deepgram's voices cannot: Amazon Polly, with the credentials that Bedrock has, or nobody. Its voices by language,
    # where they are not to be the usual ones, as JSON: {"en": "Matthew"}. An agent that wants one of them names it polly/Matthew.
    second_voice: Literal["polly", "none"] = "polly"
    polly_region: str | None = Field(None, pattern=r"^[a-z0-9-]+$")
    polly_endpoint_url: str | None = Field(None, pattern=r"^https?://\S+$")
    polly_voices: Mapping[str, str] = Field(default_factory=dict)
    # Whether the embedded recogniser and voice stand in, where they are installed, when every provider has failed.
    embedded_floor: bool = True
    # Whether what every call begins with is spoken before anybody calls: characters of the voice once for each worker's start.
    speak_ahead: bool = True
    # Streams at once that the providers' accounts allow, over all voice workers that share this Redis; None: nobody counts. A ring for
    # which there is none left is not taken. A worker that has no Redis counts alone.
    recogniser_streams: int | None = Field(None, ge=1)
    voice_streams: int | None = Field(None, ge=1)
    model_streams: int | None = Field(None, ge=1)
    # Logical names to provider ids that differ from the catalogue's, as JSON: {"fast": "…"}.
    bedrock_models: Mapping[LogicalModel, str] = Field(default_factory=dict)

    @field_validator(
        "state_dir",
        "cache_dir",
        "key_file",
        "kafka_ca_file",
        "spool_dir",
        "graph_queries_file",
        "grpc_certificate_file",
        "grpc_key_file",
        "peer_ca_file",
        "peer_certificate_file",
        "peer_key_file",
    )
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("owned")
    @classmethod
    def _possible(cls, share: str | None) -> str | None:
        number, _, of = (share or "").partition("/")
        if of and int(number) > int(of):
            raise ValueError(f"there is no process {number} of {of}")
        return share

    @model_validator(mode="after")
    def _all_of_them_or_none(self) -> Self:
        given = [each is not None for each in (self.peer_ca_file, self.peer_certificate_file, self.peer_key_file)]
        if any(given) and not all(given):
            raise ValueError("AYBIZA_PEER_CA_FILE, AYBIZA_PEER_CERTIFICATE_FILE and AYBIZA_PEER_KEY_FILE go together; set all or none")
        if (self.grpc_certificate_file is None) != (self.grpc_key_file is None):
            raise ValueError("AYBIZA_GRPC_CERTIFICATE_FILE and AYBIZA_GRPC_KEY_FILE go together; set both or none")
        return self

    @model_validator(mode="after")
    def _closed_to_strangers(self) -> Self:
        if self.webhooks_private and self.surroundings == "production":
            raise ValueError("AYBIZA_WEBHOOKS_PRIVATE lets customers call what is inside; it is not for AYBIZA_SURROUNDINGS=production")
        return self

    @property
    def wrapping_key_file(self) -> Path:
        """Where the local key file lies."""
        return self.key_file or self.state_dir / "keys" / "wrapping.key"

    @property
    def deepgram_elsewhere(self) -> tuple[str, ...]:
        """Deepgram's other addresses, in order."""
        return tuple(url for url in self.deepgram_other_base_urls.split(",") if url)

    @property
    def bedrock_elsewhere(self) -> tuple[tuple[str, str | None], ...]:
        """Bedrock's other regions in order, each with its address where it is not the region's own."""
        pairs = (each.partition("=") for each in self.bedrock_other_regions.split(",") if each)
        return tuple((region, url or None) for region, _, url in pairs)

    @property
    def spools(self) -> Path:
        """Where the voice workers of this machine have their spools."""
        return self.spool_dir or self.state_dir / "spool"


def load_settings() -> Settings:
    """Read the environment. Raises SettingsInvalid for a value we cannot use or one of our names that is misspelt."""
    _refuse_unknown(os.environ)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsInvalid("\n".join(_sentences(error))) from error
    except SettingsError as error:
        raise SettingsInvalid(f"{error}: it is not JSON") from error


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = {_variable(field) for field in Settings.model_fields}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else f". Known are: {', '.join(sorted(known))}"
            raise SettingsInvalid(f"{name} is not a setting of ours{meant}")


def _sentences(error: ValidationError) -> list[str]:
    sentences = []
    for problem in error.errors(include_input=False, include_url=False):
        if not problem["loc"]:
            # It is about several of them, and names them itself.
            sentences.append(problem["msg"].removeprefix("Value error, "))
            continue
        name, *inside = (str(part) for part in problem["loc"])
        variable = name if name.isupper() else _variable(name)
        at = f" (at {'.'.join(inside)})" if inside else ""
        sentences.append(f"{variable}{at}: {problem['msg']}")
    return sentences
