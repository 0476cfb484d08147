"""The sections of the settings: small and frozen, with their defaults and checks."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
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

from streamfilter.config.listening import Listening
from streamfilter.config.topic_names import OfEachSurvey, OfNoSurvey
from streamfilter.config.written_forms import Class, HeaderCondition, ImageSection, NotJudged
from streamfilter.contaminants import BY_CODE, CODES
from streamfilter.limits import Limits
from streamfilter.records import Doubt, Plane, Rule, fields_of

Scalar = str | int | float | bool
Probability = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

_SHORTEST_SECRET = 16


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
    """Brokers to publish to; empty: ``bootstrap``. Brokers of a public stream are read-only."""
    stall_s: Positive = 300.0
    """A partition that goes on and gives nothing for longer, or whose messages get no answer, makes
    its worker unhealthy."""

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
    """Names, or patterns that begin with ``^``, such as ``^ztf_.*_programid1$``."""
    planes: tuple[Plane, ...] = (Plane.SCIENCE,)
    """Stamps that are judged one by one; an engine of several planes judges ``science`` alone and
    sees the others beside it."""
    survey_folders: tuple[Path, ...] = ()
    """Folders with field maps of further surveys."""

    @field_validator("topics", "planes")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("at least one is needed")
        return value


class Outputs(Section):
    """Topics to publish to; an empty name publishes nothing.

    Where ``{survey}`` stands in a name, each survey has a topic of its own.
    """

    annotations: OfEachSurvey = "streamfilter.annotations"
    """One small record per alert. ``{survey}`` may stand in the name: ``site-{survey}-notes``."""
    enriched: OfEachSurvey = ""
    """Whole alerts with the annotation appended; ``{survey}`` may stand in the name."""
    clean: OfEachSurvey = ""
    """Alerts that are kept, as they came; ``{survey}`` may stand in the name."""
    contaminated: OfEachSurvey = ""
    """Alerts that are dropped, as they came; ``{survey}`` may stand in the name."""
    rejected: OfNoSurvey = "streamfilter.rejected"
    """Messages that could not be used, of whatever survey."""
    tracking: OfNoSurvey = "streamfilter.tracking"
    """Verdicts on exposures and their detectors (``exposures.topics``)."""
    contaminants: OfNoSurvey = "streamfilter.contaminants"
    """The same with contaminants, which come later (``exposures.contaminants.topics``)."""
    masks: OfNoSurvey = ""
    """Masks of the exposures' frames, as Rice-compressed FITS."""
    labels: OfNoSurvey = ""
    """What people say of alerts at the live page; only ``streamfilter console`` writes there."""


class TrackingEngine(Section):
    """The network that judges the tracking of exposures; its cache is ``engine.home``."""

    name: str = "maxitrack"
    runtime: str = "onnxruntime"
    """Or ``auto``: the first runtime that works here; the log names it."""
    precision: str = "float32"
    plans: Literal["build", "refuse"] = "build"
    """On a GPU, where no plan matches: build one at the start, or refuse to start."""


class FurtherEngine(TrackingEngine):
    """An engine that is asked about alerts after the first one (``engine``)."""

    name: str
    when: Doubt | None = None
    """Range of the first engine's posterior, at the alert's place, where it is asked; none: all."""


class MaskingEngine(TrackingEngine):
    """The network that masks whole frames."""

    name: str = "maximask"


class Instrument(Section):
    """What is left out of an instrument's frames; without such a section the headers decide."""

    auxiliary_extensions: tuple[str, ...] = ()
    """Extensions, by name or a name's last word, whose images are no detector's. Masks, variances,
    weights and the like need no entry. Producers must not count them as detectors."""
    use_sections: bool = True
    """Leave out the pixels that are no sky by TRIMSEC, DATASEC and BIASSEC."""
    section: ImageSection = ""
    """Replaces the header's section: ``[x1:x2,y1:y2]``, from 1, inclusive."""
    mask_extensions: tuple[str, ...] = ("BPM",)
    """Extensions whose non-zero pixels are bad, also with a number (``BPM1``); empty: none."""
    mask_planes: tuple[str, ...] = ("BAD", "NO_DATA")
    """Bad planes of an extension MASK with ``MP_`` keywords (Rubin); empty: none."""
    saturation: Annotated[float, Field(ge=0)] = 0.0
    """Level in the frame's unit; 0: from the header, or a plateau at the highest value."""
    purposes: Literal["generic", "lco", "decam", "lsstcam", "ztf", "none"] = "generic"
    """Whose headers say which exposures are not judged, as trails are meant; ``none``: all are."""
    not_judged: dict[NotJudged, tuple[HeaderCondition, ...]] = {}
    """Further conditions by reason: ``SRCTYPE=COMET*`` (``*``, ``?``), ``RATRACK!=0``."""


class FrameContaminants(Section):
    """Whether whole frames are searched for contaminants too, and how."""

    topics: tuple[str, ...] = ()
    """Topics of exposures: names, or patterns that begin with ``^``; empty: no search."""
    group: str = "streamfilter-contaminants"
    """A separate consumer group: the verdicts on tracking do not wait for the masks."""
    engine: MaskingEngine = MaskingEngine()
    cosmic_rays: str = "deepcr"
    """The engine for cosmic rays, at its numbers for frames; empty: ``engine``, at its numbers for
    stamps, which are the MaxiMask program's."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the network; 0: one per core. They run at a low priority."""
    tile_px: Annotated[int, Field(ge=352, multiple_of=32)] = 768
    """Side of a tile. Activations take 1.1 kB a pixel; smaller tiles compute more pixels twice."""
    wait_s: Positive = 3600.0
    """Wait for more detectors of an exposure, since the last one was processed."""
    priors: dict[Class, Probability] = {}
    thresholds: dict[Class, Probability] = {}
    classes: tuple[Class, ...] = ()
    """Classes that masks tell; empty: all. The areas of all are published."""
    folder: Path | None = None
    """Folder for masks as Rice-compressed FITS; none: no files are written."""


class Exposures(Section):
    """Whether a telescope's exposures are checked for tracking errors, and how."""

    topics: tuple[str, ...] = ()
    """Names, or patterns that begin with ``^``; empty: no exposures are checked."""
    group: str = "streamfilter-exposures"
    """Consumer group; it must not be the group of the alerts."""
    prior: Probability = 0.05
    """Prior probability of a tracking error."""
    elongated: Annotated[float, Field(ge=1)] = 1.5
    """Median elongation of stars at and above which they are trailed, if all in one direction."""
    round: Annotated[float, Field(ge=1)] = 1.35
    """Median elongation below which they are not; halfway in between their shapes are even."""
    tiles_enough: Annotated[int, Field(ge=0)] = 8
    """Tiles of a detector, those with most stars, that the network judges first; it goes on while
    the others could change the decision. 0: it judges every tile, as MaxiTrack does."""
    wait_s: Positive = 60.0
    """Wait for more detectors of an exposure, since the last one was processed."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the network, which takes one frame at a time; 0: one per core."""
    background: Literal["own", "reference"] = "own"
    """``reference``: sky and clip in ADU as in MaxiMask 1.4.1, for comparisons with it."""
    max_message_bytes: Count = 40 * 2**20
    max_frame_bytes: Count = 512 * 2**20
    """Largest referenced file, also when it is unpacked."""
    max_frame_pixels: Count = 2**27
    """Most pixels of one detector; a frame takes some 20 bytes a pixel while it is judged."""
    max_frame_planes: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Most planes of a cube, such as one of colours: each is judged as a detector. A cube of more
    is refused; with 1, all are. ``track`` and ``mask`` read up to 10,000."""
    reference_folders: tuple[Path, ...] = ()
    """Folders for ``file://`` references; empty: none are read."""
    reference_hosts: tuple[str, ...] = ()
    """Hosts for ``https://`` references: ``host``, ``host:port``, ``*.domain``."""
    reference_buckets: tuple[str, ...] = ()
    """Buckets for ``s3://`` references: ``bucket``, ``bucket/prefix``."""
    reference_attempts: Count = 5
    """Attempts to fetch a frame, 1, 2, 4, ... seconds apart, before the message is rejected."""
    reference_timeout_s: Positive = 60.0
    """Limit of one whole attempt."""
    s3: dict[str, Scalar] = {}
    """Settings of s3fs, such as ``endpoint_url``, ``key``, ``secret``, ``anon``."""
    engine: TrackingEngine = TrackingEngine()
    instruments: dict[str, Instrument] = {}
    """Instruments by their name in messages."""
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
    """Where notices of failed exposures are sent; an empty url sends none."""

    url: str = ""
    """``https``; ``http`` only to this machine, and if ``outgoing.internal_networks`` has it."""
    secret: str = ""
    """Secret, shared with the receiver, that signs the notices."""
    attempts: Count = 6
    """Attempts for each notice, 1, 2, 4, ... seconds apart."""
    timeout_s: Positive = 10.0
    """Limit of one whole attempt."""
    max_waiting: Count = 64
    """Most waiting notices; further ones are dropped, counted and logged."""
    stop_s: Positive = 5.0
    """Longest wait at SIGTERM for notices that are being sent."""
    picture: bool = True
    """Add a picture of the worst detectors (needs the extra ``figures``)."""

    @model_validator(mode="after")
    def _signed(self) -> "Webhook":
        if self.url and len(self.secret) < _SHORTEST_SECRET:
            raise ValueError(
                f"secret has {len(self.secret)} characters; expected at least {_SHORTEST_SECRET}, "
                'as "${NAME}" from the environment or "${file:PATH}"'
            )
        return self


class Outgoing(Section):
    """Settings of all outgoing calls: webhook and referenced frames."""

    internal_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that may be called though they are not of the public internet; empty: none."""
    ca_file: Path | None = None
    """Certificate authorities (PEM) that are trusted besides the system's."""


class Registry(Section):
    """A schema registry; an empty url means none."""

    url: str = ""
    settings: dict[str, Scalar] = {}
    """Further settings of the client, such as ``basic.auth.user.info``."""


class Schemas(Section):
    """Where writer schemas are searched, in this order: folders, registry, installed packages."""

    folders: tuple[Path, ...] = ()
    registry: Registry = Registry()
    """The survey's registry; it is only read."""
    publish: Registry = Registry()
    """Registry for the schemas of outputs; empty: outputs are single-object encoded."""
    packages: bool = True
    """Use schemas of installed packages (``lsst-alert-packet``)."""
    wait_s: Positive = 60.0
    """Longest wait for a schema that cannot be fetched now, before its messages are rejected. Only
    their partition waits; the others go on."""


class Engine(Section):
    """The network and how it is run."""

    name: str = "maximask"
    runtime: str = "onnxruntime"
    """Or ``auto``: the first runtime that works here; the log names it."""
    precision: str = "float32"
    """Or ``bf16`` (CPU), ``fp16`` (GPU) where available: faster, but single pixels differ."""
    plans: Literal["build", "refuse"] = "build"
    """On a GPU, where no plan matches: build one at the start, or refuse to start."""
    home: Path | None = None
    """Cache of engines and schemas; default: STREAMFILTER_HOME or the user's cache directory."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Batches in the network at a time; 0: one per core."""
    threads: Count = 1
    """Threads within one batch."""
    also: tuple[FurtherEngine, ...] = ()
    """Further engines in their order, with the same ``home``, ``workers`` and ``threads``."""


class Batch(Section):
    """When a batch goes to the network: when it is full, after a wait, or at once if it is idle."""

    size: Annotated[int, Field(ge=1, le=1024)] = 16
    max_wait_s: Positive = 0.02


class Flow(Section):
    """How many messages are in progress at a time; with more, reading pauses."""

    overload: Literal["hold", "shed"] = "hold"
    """What happens to more alerts than the engine can judge. ``hold``: they wait in Kafka.
    ``shed``: alerts older than ``shed_after_s`` are published as ``not_evaluated``."""
    shed_after_s: Positive = 30.0
    """Age of a message when it is read, by its Kafka timestamp."""

    max_in_flight: Count = 512
    max_in_flight_bytes: Count = 96 * 2**20
    commit_interval_s: Positive = 1.0
    drain_s: Positive = 14.0
    """Longest wait for alerts in progress at SIGTERM or when partitions move. Where the broker
    hangs, committing and leaving the group add 15 s; orchestrators kill after 30 s."""


class Delivery(Section):
    """The guarantee for outputs when a worker, a broker or the network fails."""

    guarantee: Literal["at-least-once", "exactly-once"] = "at-least-once"
    """``exactly-once``: outputs and offsets in one transaction; readers of the outputs need
    ``isolation.level=read_committed``."""
    transactional_id: str = ""
    """Id of this worker, unique and the same after a restart, which then ends at once the open
    transaction of a killed worker. Empty: a new id for each process. The consumer group's name is
    its prefix."""
    max_transaction_messages: Count = 500
    """Most messages whose outputs go into one transaction."""
    max_gather_s: Positive = 0.01
    """Longest wait of a message for other messages of its transaction."""
    transaction_timeout_s: Annotated[float, Field(ge=1)] = 30.0
    """Time until brokers abort a killed worker's transaction; below the session time-out."""

    @model_validator(mode="after")
    def _in_time(self) -> "Delivery":
        if self.max_gather_s >= self.transaction_timeout_s:
            raise ValueError(
                f"max_gather_s is {self.max_gather_s}; it must be below transaction_timeout_s "
                f"({self.transaction_timeout_s})"
            )
        return self


class Metrics(Listening, Section):
    """The address of ``/metrics``, ``/healthz`` and ``/readyz``."""

    enabled: bool = True
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """0: any free port, which the log names."""


class Console(Listening, Section):
    """The address of the live page (``streamfilter console``), and how much it holds."""

    port: Annotated[int, Field(ge=0, le=65535)] = 9465
    """0: any free port, which the log names."""
    cards: Annotated[int, Field(ge=10, le=20_000)] = 2000
    """Newest alerts that are held; each takes some 5 kB of memory."""
    packets_per_s: Annotated[float, Field(gt=0, le=1000)] = 20.0
    """Most alerts per second that are read from their own topics, for score, detector and filter;
    those that somebody looks at come first."""


class Traces(Section):
    """Whether some alerts are traced, with OpenTelemetry spans sent to a collector."""

    endpoint: str = ""
    """OTLP over HTTP: ``http://127.0.0.1:4318/v1/traces``; empty: nothing is traced."""
    headers: dict[str, str] = {}
    """Headers of every call, such as ``Authorization``."""
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of alerts that are traced, where their producer does not decide."""
    max_per_s: Positive = 50.0
    """Most traced alerts per second, also where producers request more."""
    max_waiting: Count = 4096
    """Most spans that wait for the collector; further ones are dropped and counted."""
    timeout_s: Positive = 5.0
    """Time-out of one call; the stream does not wait for calls."""

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
    """How a survey's alerts are judged; classes that are not named keep their defaults."""

    priors: dict[Class, Probability] = {}
    thresholds: dict[Class, Probability] = {}
    rules: tuple[Rule, ...] | None = None
    """Replaces all default rules of the survey."""

    @model_validator(mode="after")
    def _rules_can_be(self) -> "Survey":
        for rule in self.rules or ():
            row = BY_CODE.get(rule.contaminant)
            if row is None or row.normal:
                raise ValueError(
                    f"rule {rule.name!r}: {rule.contaminant!r} is no contaminant; they are "
                    + ", ".join(code for code in CODES if not BY_CODE[code].normal)
                )
        fields_of(self.rules or ())
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
    console: Console = Console()
    logs: Logs = Logs()
    traces: Traces = Traces()
    surveys: dict[str, Survey] = {}
    _references: Mapping[str, str] = PrivateAttr(default_factory=dict)
    """By key, the text with ``${...}`` as it was written."""
