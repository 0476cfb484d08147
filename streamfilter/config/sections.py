"""The settings' sections: small, frozen, each with its defaults and what it refuses."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from streamfilter.contaminants import BY_CODE, CODES
from streamfilter.limits import Limits
from streamfilter.records import Plane, Rule

Scalar = str | int | float | bool
Probability = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

_SHORTEST_SECRET = 16
_SECTION = re.compile(r"\[\d+:\d+,\d+:\d+\]")


def _of_known_classes(value: dict[str, float]) -> dict[str, float]:
    if unknown := sorted(set(value) - set(CODES)):
        raise ValueError(f"no class {', '.join(unknown)}; the classes are {', '.join(CODES)}")
    return value


def address_of(host: str, port: int) -> str:
    """Host and port as addresses have them: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Section(BaseModel):
    """A part of the settings; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Kafka(Section):
    """How to reach the brokers; every librdkafka property passes through."""

    bootstrap: str = "127.0.0.1:9092"
    group: str = "streamfilter"
    settings: dict[str, Scalar] = {}
    """librdkafka properties of both clients, such as ``security.protocol``."""
    consumer: dict[str, Scalar] = {}
    """librdkafka properties of the consumer alone."""
    producer: dict[str, Scalar] = {}
    """librdkafka properties of the producer alone."""
    output_bootstrap: str = ""
    """Brokers to publish to; empty: the same. A public stream is read-only, so is its broker."""

    @field_validator("bootstrap", "output_bootstrap")
    @classmethod
    def _addresses(cls, value: str) -> str:
        # librdkafka would take all up to the last colon for a name, and look for it for ever.
        for each in value.split(","):
            address = each.strip().rpartition("://")[2]
            if address.count(":") > 1 and not address.startswith("["):
                raise ValueError(
                    f"{each.strip()!r}: an IPv6 address stands in brackets, [::1]:9092"
                )
        return value


class Alerts(Section):
    """Which alerts are read and which of their images are judged."""

    topics: tuple[str, ...] = ("alerts",)
    """Names, or patterns that begin with ``^`` (``^ztf_.*_programid1$``)."""
    planes: tuple[Plane, ...] = (Plane.SCIENCE,)
    survey_folders: tuple[Path, ...] = ()
    """Folders with field maps of further surveys."""

    @field_validator("topics", "planes")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("at least one is needed")
        return value


class Outputs(Section):
    """Topics to publish to; an empty name publishes nothing."""

    annotations: str = "streamfilter.annotations"
    enriched: str = ""
    clean: str = ""
    contaminated: str = ""
    rejected: str = "streamfilter.rejected"
    tracking: str = "streamfilter.tracking"
    """What is said of exposures and their detectors (``exposures.topics``)."""
    contaminants: str = "streamfilter.contaminants"
    """The same with contaminants, later (``exposures.contaminants.topics``)."""
    masks: str = ""
    """Masks of their frames as Rice-compressed FITS."""


class TrackingEngine(Section):
    """The network that watches exposures; home of engines: ``engine.home``."""

    name: str = "maxitrack"
    runtime: str = "onnxruntime"
    """Or ``auto``: the first that works here, which the log names."""
    precision: str = "float32"
    plans: Literal["build", "refuse"] = "build"
    """On a GPU, where no plan matches: build it at the start, or do not start."""


class MaskingEngine(TrackingEngine):
    """The network that masks whole frames."""

    name: str = "maximask"


class Instrument(Section):
    """What is left out of an instrument's frames; without a section here the headers say it."""

    auxiliary_extensions: tuple[str, ...] = ()
    """Whose images are no detector's, by name or a name's last word; masks, variances, weights and
    the like never are. What announces exposures must not count them."""
    use_sections: bool = True
    """Leave out what TRIMSEC, DATASEC and BIASSEC say is no sky."""
    section: str = ""
    """Instead of the header's: ``[x1:x2,y1:y2]``, from 1, inclusive."""
    mask_extensions: tuple[str, ...] = ("BPM",)
    """Extensions whose non-zero pixels are bad, ``BPM1`` too; empty: none are used."""
    mask_planes: tuple[str, ...] = ("BAD", "NO_DATA")
    """Planes of an extension MASK with ``MP_`` keywords (Rubin) that are bad; empty: none."""
    saturation: Annotated[float, Field(ge=0)] = 0.0
    """Level in the frame's unit; 0: as the header says, or a plateau at the highest value."""

    @field_validator("section")
    @classmethod
    def _readable(cls, value: str) -> str:
        if value and not _SECTION.fullmatch(value):
            raise ValueError(f"{value!r}: expected [x1:x2,y1:y2] in pixels from 1, or nothing")
        return value


class FrameContaminants(Section):
    """Whether whole frames are searched for contaminants too, and what comes of it."""

    topics: tuple[str, ...] = ()
    """Of exposures: names, or patterns that begin with ``^``; empty: none are searched."""
    group: str = "streamfilter-contaminants"
    """Consumer group of its own: the verdicts on tracking do not wait for the masks."""
    engine: MaskingEngine = MaskingEngine()
    threads: Annotated[int, Field(ge=0)] = 0
    """Of the network; 0: as many as cores. They yield to all others of the machine."""
    tile_px: Annotated[int, Field(ge=352, multiple_of=32)] = 768
    """The network's activations take 1.1 kB a pixel; smaller tiles compute more pixels twice."""
    wait_s: Positive = 3600.0
    """For further detectors of an exposure, from the last that was looked at."""
    priors: dict[str, Probability] = {}
    thresholds: dict[str, Probability] = {}
    folder: Path | None = None
    """Where masks are written as Rice-compressed FITS; none: they are not."""

    @field_validator("priors", "thresholds")
    @classmethod
    def _classes(cls, value: dict[str, float]) -> dict[str, float]:
        return _of_known_classes(value)


class Exposures(Section):
    """Whether a telescope's exposures are watched for tracking errors, and how."""

    topics: tuple[str, ...] = ()
    """Names, or patterns that begin with ``^``; empty: none are watched."""
    group: str = "streamfilter-exposures"
    """Consumer group; not that of the alerts."""
    prior: Probability = 0.05
    """Of a tracking error, before looking."""
    elongated: Annotated[float, Field(ge=1)] = 1.5
    """Median elongation of stars from which on they trail, if all the same way."""
    round: Annotated[float, Field(ge=1)] = 1.35
    """Median elongation below which they do not; in between the network alone may not say so."""
    wait_s: Positive = 60.0
    """For further detectors of an exposure, from the last that was looked at."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Of the network, which looks at one frame at a time; 0: as many as cores."""
    background: Literal["own", "reference"] = "own"
    """``reference``: sky and clip in ADU as MaxiMask 1.4.1 has them, to compare with it."""
    max_message_bytes: Count = 40 * 2**20
    max_frame_bytes: Count = 512 * 2**20
    """Of a referenced file, and of what a gzip holds."""
    max_frame_pixels: Count = 2**27
    """Of one detector; a frame takes some 20 bytes a pixel while it is judged."""
    reference_folders: tuple[Path, ...] = ()
    """Folders from which ``file://`` references are read; empty: none are."""
    reference_hosts: tuple[str, ...] = ()
    """From which ``https://`` references are read: ``host``, ``host:port``, ``*.domain``."""
    reference_buckets: tuple[str, ...] = ()
    """From which ``s3://`` references are read: ``bucket``, ``bucket/prefix``."""
    reference_attempts: Count = 5
    """To reach a frame, 1, 2, 4, ... seconds apart, before the message is rejected."""
    reference_timeout_s: Positive = 60.0
    """Of one attempt, all of it."""
    s3: dict[str, Scalar] = {}
    """Settings of s3fs, such as ``endpoint_url``, ``key``, ``secret``, ``anon``."""
    engine: TrackingEngine = TrackingEngine()
    instruments: dict[str, Instrument] = {}
    """By the name that messages give."""
    contaminants: FrameContaminants = FrameContaminants()

    @model_validator(mode="after")
    def _in_order(self) -> "Exposures":
        if self.round > self.elongated:
            raise ValueError(f"round, {self.round}, is above elongated, {self.elongated}")
        return self

    @field_validator("reference_hosts", "reference_buckets")
    @classmethod
    def _no_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # A URL would match nothing, and nobody would know why.
        if wrong := [each for each in value if "://" in each or not each.strip("/*. ")]:
            raise ValueError(f"{wrong[0]!r}: expected a name without a scheme before it")
        return value


class Webhook(Section):
    """Where exposures that fail are told; an empty url tells nobody."""

    url: str = ""
    """``https``; ``http`` only to this machine, where ``outgoing.internal_networks`` holds it."""
    secret: str = ""
    """What notices are signed with, shared with the receiver."""
    attempts: Count = 6
    """Of each notice, 1, 2, 4, ... seconds apart."""
    timeout_s: Positive = 10.0
    """Of one attempt, all of it."""
    max_waiting: Count = 64
    """Notices; beyond them news is dropped, counted and logged."""
    stop_s: Positive = 5.0
    """Longest wait for notices under way at SIGTERM."""
    picture: bool = True
    """Send a picture of the worst detectors along (needs the extra ``figures``)."""

    @model_validator(mode="after")
    def _signed(self) -> "Webhook":
        if self.url and len(self.secret) < _SHORTEST_SECRET:
            raise ValueError(
                f"secret has {len(self.secret)} characters; expected at least {_SHORTEST_SECRET}, "
                'as "${NAME}" from the environment or "${file:PATH}"'
            )
        return self


class Outgoing(Section):
    """What holds for all calls out: webhook and frames by reference."""

    internal_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that are called though they are not of the open internet; empty: none."""
    ca_file: Path | None = None
    """Authorities (PEM) that are trusted beside those of the system."""


class Registry(Section):
    """A schema registry; an empty url means none."""

    url: str = ""
    settings: dict[str, Scalar] = {}
    """Further settings of the client, such as ``basic.auth.user.info``."""


class Schemas(Section):
    """Where writer schemas are found, in this order: folders, registry, installed packages."""

    folders: tuple[Path, ...] = ()
    registry: Registry = Registry()
    """Read-only: the survey's."""
    publish: Registry = Registry()
    """Where schemas of what is published are registered; empty: single-object encoding."""
    packages: bool = True
    """Use schemas of installed packages (``lsst-alert-packet``)."""
    wait_s: Positive = 60.0
    """Longest wait for a schema that cannot be had now, before its messages are rejected; their
    partition waits, the others go on."""


class Engine(Section):
    """The network and how it is run."""

    name: str = "maximask"
    runtime: str = "onnxruntime"
    """Or ``auto``: the first that works here, which the log names."""
    precision: str = "float32"
    """Or ``bf16`` (CPU), ``fp16`` (GPU) where it is had: quicker, and single pixels differ."""
    plans: Literal["build", "refuse"] = "build"
    """On a GPU, where no plan matches: build it at the start, or do not start."""
    home: Path | None = None
    """Cache of engines and schemas; default STREAMFILTER_HOME or the user's cache directory."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Batches in the network at a time; 0: as many as cores."""
    threads: Count = 1
    """Threads within one batch."""


class Batch(Section):
    """When a micro-batch goes to the network: full, or after a wait, or at once if it is idle."""

    size: Annotated[int, Field(ge=1, le=1024)] = 16
    max_wait_s: Positive = 0.02


class Flow(Section):
    """How much is under way at a time; beyond it reading pauses."""

    overload: Literal["hold", "shed"] = "hold"
    """Where more comes than the engine can judge: let it wait in Kafka, or publish what is older
    than ``shed_after_s`` as ``not_evaluated``."""
    shed_after_s: Positive = 30.0
    """Age by the message's Kafka timestamp, when it is read."""

    max_in_flight: Count = 512
    max_in_flight_bytes: Count = 96 * 2**20
    commit_interval_s: Positive = 1.0
    drain_s: Positive = 14.0
    """Longest wait for alerts under way at SIGTERM or when partitions move. Where the broker hangs,
    committing and leaving the group add 15 s, and orchestrators kill after 30."""


class Delivery(Section):
    """What holds for outputs when a worker, a broker or the network fails."""

    guarantee: Literal["at-least-once", "exactly-once"] = "at-least-once"
    """``exactly-once``: outputs and offsets in one transaction; readers of the outputs need
    ``isolation.level=read_committed``."""
    transactional_id: str = ""
    """Of this worker alone and the same after a restart, which then ends at once what a kill left
    open; empty: a new one for each process. The consumer group's name is put before it."""
    max_transaction_messages: Count = 500
    """Messages whose outputs go into one transaction."""
    max_gather_s: Positive = 0.01
    """Longest wait of a message for others of its transaction."""
    transaction_timeout_s: Annotated[float, Field(ge=1)] = 30.0
    """After which brokers abort what a killed worker left open; less than a session time-out."""

    @model_validator(mode="after")
    def _in_time(self) -> "Delivery":
        if self.max_gather_s >= self.transaction_timeout_s:
            raise ValueError(
                f"max_gather_s is {self.max_gather_s}; it must be below transaction_timeout_s "
                f"({self.transaction_timeout_s})"
            )
        return self


class Metrics(Section):
    """Where ``/metrics``, ``/healthz`` and ``/readyz`` listen."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """0: any free port, which the log names."""
    certificate_file: Path | None = None
    """PEM, the chain after it: https."""
    key_file: Path | None = None
    """PEM, of the certificate."""
    user: str = ""
    """Whom ``/metrics`` is shown to, with the password; empty: to all who reach it."""
    password: str = ""
    allow_open: bool = False
    """Listen on the network without certificate or password, where something else protects it."""

    @field_validator("host")
    @classmethod
    def _bare(cls, value: str) -> str:
        return value.removeprefix("[").removesuffix("]")

    @property
    def address(self) -> str:
        """Host and port."""
        return address_of(self.host, self.port)

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @model_validator(mode="after")
    def _closed(self) -> "Metrics":
        if bool(self.user) != bool(self.password):
            raise ValueError("user and password go together")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        if not (self.loopback or self.allow_open or (self.user and self.certificate_file)):
            raise ValueError(
                f"host {self.host!r} is open to the network: give certificate_file, key_file, "
                "user and password, or set allow_open = true where something else protects it"
            )
        return self


class Traces(Section):
    """Whether the way of some alerts is told to a collector, as OpenTelemetry spans."""

    endpoint: str = ""
    """OTLP over HTTP: ``http://127.0.0.1:4318/v1/traces``; empty: nothing is traced."""
    headers: dict[str, str] = {}
    """Of every call, such as ``Authorization``."""
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of alerts that are traced, where their producer does not say."""
    max_per_s: Positive = 50.0
    """Alerts; also where producers want more."""
    max_waiting: Count = 4096
    """Spans that wait for the collector; beyond them new ones are dropped and counted."""
    timeout_s: Positive = 5.0
    """Of one call; the stream does not wait for it."""

    @field_validator("endpoint")
    @classmethod
    def _url(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("expected a URL such as http://127.0.0.1:4318/v1/traces")
        return value


class Logs(Section):
    """Form and level of the log on standard error."""

    form: Literal["auto", "json", "human"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Survey(Section):
    """What a survey's alerts are judged by; what is not named keeps its default."""

    priors: dict[str, Probability] = {}
    thresholds: dict[str, Probability] = {}
    rules: tuple[Rule, ...] | None = None
    """Replaces all default rules of the survey."""

    @field_validator("priors", "thresholds")
    @classmethod
    def _classes(cls, value: dict[str, float]) -> dict[str, float]:
        return _of_known_classes(value)

    @model_validator(mode="after")
    def _rules_name_contaminants(self) -> "Survey":
        for rule in self.rules or ():
            row = BY_CODE.get(rule.contaminant)
            if row is None or row.normal:
                raise ValueError(
                    f"rule {rule.name!r}: {rule.contaminant!r} is no contaminant; they are "
                    + ", ".join(code for code in CODES if not BY_CODE[code].normal)
                )
        return self


class Settings(Section):
    """All settings of a worker."""

    kafka: Kafka = Kafka()
    alerts: Alerts = Alerts()
    exposures: Exposures = Exposures()
    webhook: Webhook = Webhook()
    outgoing: Outgoing = Outgoing()
    outputs: Outputs = Outputs()
    schemas: Schemas = Schemas()
    engine: Engine = Engine()
    batch: Batch = Batch()
    flow: Flow = Flow()
    delivery: Delivery = Delivery()
    limits: Limits = Limits()
    metrics: Metrics = Metrics()
    logs: Logs = Logs()
    traces: Traces = Traces()
    surveys: dict[str, Survey] = {}
    _references: Mapping[str, str] = PrivateAttr(default_factory=dict)
    """By key what was written where ``${...}`` stood."""
