"""The steps from bytes to an annotation, put together; no I/O."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamfilter.alerts.batch import Batcher
from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.drift import Drift
from streamfilter.alerts.field_plan import Gaps
from streamfilter.alerts.normalise import Normalised, normalise, reflect, side_of
from streamfilter.alerts.placement import Placement
from streamfilter.alerts.verdict import SHED, Policy, decide, rule_fields, summarise
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.records import (
    Alert,
    Annotation,
    EngineIdentity,
    Message,
    NotEvaluated,
    Plane,
    Rejected,
    StampEvidence,
    Times,
)
from streamfilter.schemas.finder import SchemaKey


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One stamp for the network; ``slot`` is its index among the wanted planes."""

    slot: int
    plane: Plane
    stamp: Normalised
    policy: Policy

    @property
    def side(self) -> int:
        """Side of the network's input that the stamp is reflected to, in pixels."""
        return side_of(*self.stamp.image.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An alert with its stamps ready for the network, and evidence for those that cannot be."""

    alert: Alert
    items: tuple[Item, ...]
    evidence: tuple[StampEvidence | None, ...]
    """One per wanted plane: None where the network will evaluate the stamp."""


class Pipeline:
    """Decodes, prepares and judges alerts; every method may run in any thread.

    Parameters
    ----------
    decoder
        Opens messages.
    planes
        The images to judge, in this order.
    policies
        The policy of each survey; every field map has one.
    engine
        The network that the annotations name.

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
    ) -> None:
        self._decoder = decoder
        self._planes = tuple(planes)
        self._policies = policies
        self._engine = engine
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
            decoder=self._decoder, planes=planes, policies=policies, engine=self._engine
        )

    def decode(self, message: Message) -> Alert | Rejected:
        """Returns the alert in a message.

        Raises
        ------
        SchemaUnavailable
            The writer's schema cannot be fetched now.
        """
        return self._decoder.decode(message, self._planes, self._fields)

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
        """Normalise the stamps of the wanted planes."""
        policy = self._policies[alert.survey]
        items: list[Item] = []
        evidence: list[StampEvidence | None] = []
        for slot, plane in enumerate(self._planes):
            stamp = alert.stamps.get(plane)
            normalised = normalise(stamp) if stamp else NotEvaluated.STAMP_MISSING
            if unreadable := alert.unreadable.get(plane):
                evidence.append(StampEvidence(plane, unreadable.why, detail=unreadable.detail))
            elif isinstance(normalised, NotEvaluated):
                evidence.append(StampEvidence(plane, normalised))
            else:
                evidence.append(None)
                items.append(Item(slot, plane, normalised, policy))
        return Prepared(alert, tuple(items), tuple(evidence))

    def evaluate(self, engine: Engine, items: Sequence[Item]) -> list[StampEvidence]:
        """Returns the evidence of one or more stamps of the same side, in order."""
        raw, placements = infer(engine, items)
        classes = summarise(raw, placements, [item.policy for item in items])
        return [
            StampEvidence(item.plane, None, item.stamp.filled_px, each)
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
    side = items[0].side
    batch = np.empty((len(items), 1, side, side), np.float32)
    placements = [reflect(item.stamp, batch[n, 0]) for n, item in enumerate(items)]
    return engine.infer(batch), placements
