"""The steps from bytes to an annotation, put together; no I/O."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamfilter.alerts.batch import Batcher
from streamfilter.alerts.beside import Beside, beside, stamps_read, usable
from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.drift import Drift
from streamfilter.alerts.field_plan import Gaps
from streamfilter.alerts.normalise import Normalised, reflect, reflect_image, side_of
from streamfilter.alerts.placement import Placement
from streamfilter.alerts.verdict import SHED, Policy, decide, rule_fields, summarise
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.inference.manifest import Manifest
from streamfilter.records import (
    Alert,
    Annotation,
    EngineIdentity,
    Message,
    Plane,
    Rejected,
    StampEvidence,
    Times,
)
from streamfilter.schemas.finder import SchemaKey


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One stamp for the network; ``slot`` is its index among the judged planes."""

    slot: int
    plane: Plane
    stamp: Normalised
    policy: Policy
    side: int
    """Side of the network's input that the stamp is reflected to, in pixels."""
    beside: Beside

    @property
    def planes(self) -> tuple[str, ...]:
        """What the network judges it by, the stamp itself first."""
        return (self.plane, *self.beside.present)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An alert with its stamps ready for the network, and evidence for those that cannot be."""

    alert: Alert
    items: tuple[Item, ...]
    evidence: tuple[StampEvidence | None, ...]
    """One per judged plane: None where the network will evaluate the stamp. Then why a stamp that
    the network would see beside it cannot be used."""


class Pipeline:
    """Decodes, prepares and judges alerts; every method may run in any thread.

    Parameters
    ----------
    decoder
        Opens messages.
    planes
        The images to judge, in this order; each by itself, where the network takes one plane. A
        network of several planes judges its first one, and sees the others beside it.
    policies
        The policy of each survey; every field map has one.
    engine
        The network that the annotations name.
    network
        What it takes and gives.

    Raises
    ------
    ConfigurationInvalid
        A rule looks at a field that the survey's field map does not name.
    """

    def __init__(
        self,
        *,
        decoder: Decoder,
        planes: Sequence[Plane],
        policies: Mapping[str, Policy],
        engine: EngineIdentity,
        network: Manifest,
    ) -> None:
        self._decoder = decoder
        self._planes = tuple(planes)
        self._policies = policies
        self._engine = engine
        self._network = network
        self._beside = network.planes[1:]
        self._read = stamps_read(self._planes, network)
        self._fields = rule_fields(policies)
        decoder.surveys.refuse_unnamed(self._fields)

    @property
    def surveys(self) -> tuple[str, ...]:
        """Names of the surveys whose alerts can be judged."""
        return tuple(self._policies)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes to judge, in order."""
        return self._planes

    def judging(self, *, planes: Sequence[Plane], policies: Mapping[str, Policy]) -> "Pipeline":
        """Returns a copy of this pipeline with other planes and policies; raises as making one."""
        return Pipeline(
            decoder=self._decoder,
            planes=planes,
            policies=policies,
            engine=self._engine,
            network=self._network,
        )

    def decode(self, message: Message) -> Alert | Rejected:
        """Returns the alert in a message.

        Raises
        ------
        SchemaUnavailable
            The writer's schema cannot be fetched now.
        """
        return self._decoder.decode(message, self._read, self._fields)

    def with_all_stamps(self, alert: Alert) -> Alert:
        """Returns the alert with every readable stamp, also of planes that are not judged."""
        decoded = self._decoder.decode(alert.message, fields=self._fields)
        return alert if isinstance(decoded, Rejected) else decoded

    def fetch(self, key: SchemaKey) -> str | None:
        """Fetch a writer schema now; see ``Decoder.fetch``."""
        return self._decoder.fetch(key, self._fields)

    def take_reports(self) -> list[Drift | Gaps]:
        """Returns what is new about schemas, each once; see ``Decoder.take_reports``."""
        return self._decoder.take_reports()

    def prepare(self, alert: Alert) -> Prepared:
        """Normalise the stamps that the network takes."""
        items: list[Item] = []
        evidence: list[StampEvidence | None] = []
        policy, sides_px = self._policies[alert.survey], self._network.sides_px
        seen = Beside()
        for slot, plane in enumerate(self._planes):
            stamp = usable(alert, plane, sides_px[-1])
            if isinstance(stamp, StampEvidence):
                evidence.append(stamp)
                continue
            if self._beside:
                seen = beside(alert, stamp, self._beside, sides_px[-1])
            evidence.append(None)
            side = side_of(stamp.image.shape, sides_px)
            items.append(Item(slot, plane, stamp, policy, side, seen))
        return Prepared(alert, tuple(items), (*evidence, *seen.unusable))

    def evaluate(self, engine: Engine, items: Sequence[Item]) -> list[StampEvidence]:
        """Returns the evidence of one or more stamps of the same side, in order."""
        raw, placements = infer(engine, items)
        classes = summarise(raw, placements, [item.policy for item in items])
        return [
            StampEvidence(
                item.plane,
                None,
                item.stamp.filled_px,
                each,
                planes=item.planes,
                no_data_distance_px=item.stamp.no_data_distance_px,
            )
            for item, each in zip(items, classes, strict=True)
        ]

    def conclude(self, alert: Alert, evidence: Sequence[StampEvidence], times: Times) -> Annotation:
        """Returns the annotation of an alert, from the evidence of all its planes."""
        policy = self._policies[alert.survey]
        verdict = decide(evidence, policy.rules, alert.fields)
        return Annotation(alert, verdict, tuple(evidence), self._engine, policy.priors, times)

    def shed(self, alert: Alert, times: Times) -> Annotation:
        """Returns the annotation of an alert that skips the network, to keep up with the stream."""
        return Annotation(alert, SHED, (), self._engine, self._policies[alert.survey].priors, times)

    def judge(
        self, engine: Engine, messages: Iterable[Message], *, max_items: int = 16
    ) -> Iterator[tuple[Prepared, Annotation] | Rejected]:
        """Judge messages that are no stream, in order; no times are measured.

        Raises
        ------
        SchemaUnavailable
            A writer's schema cannot be fetched now.
        """
        chunk: list[Prepared | Rejected] = []
        for message in messages:
            alert = self.decode(message)
            chunk.append(alert if isinstance(alert, Rejected) else self.prepare(alert))
            if len(chunk) == max_items:
                yield from self._judge(engine, chunk, max_items)
                chunk = []
        yield from self._judge(engine, chunk, max_items)

    def _judge(
        self, engine: Engine, chunk: Sequence[Prepared | Rejected], max_items: int
    ) -> Iterator[tuple[Prepared, Annotation] | Rejected]:
        batcher: Batcher[int, tuple[int, Item]] = Batcher(max_items=max_items)
        batches = []
        evidences = [list(each.evidence) if isinstance(each, Prepared) else [] for each in chunk]
        for index, each in enumerate(chunk):
            for item in each.items if isinstance(each, Prepared) else ():
                batches.append(batcher.add(item.side, (index, item), 0.0))
        for batch in (*filter(None, batches), *batcher.flush()):
            evidence = self.evaluate(engine, [item for _, item in batch.items])
            for (index, item), each_evidence in zip(batch.items, evidence, strict=True):
                evidences[index][item.slot] = each_evidence
        for each, slots in zip(chunk, evidences, strict=True):
            if isinstance(each, Rejected):
                yield each
            else:
                whole = [slot for slot in slots if slot is not None]
                yield each, self.conclude(each.alert, whole, Times(0.0, 0.0, 0.0, 0.0))


def infer(engine: Engine, items: Sequence[Item]) -> tuple[Tensor, list[Placement]]:
    """Returns raw probabilities (N, K, side, side) of stamps, and where each stamp lies in them."""
    side, planes = items[0].side, 1 + len(items[0].beside.images)
    batch = np.empty((len(items), planes, side, side), np.float32)
    placements = []
    for item, channels in zip(items, batch, strict=True):
        placements.append(reflect(item.stamp, channels[0]))
        for image, channel in zip(item.beside.images, channels[1:], strict=True):
            if image is None:
                channel.fill(0.0)
            else:
                reflect_image(image, channel)
    return engine.infer(batch), placements
