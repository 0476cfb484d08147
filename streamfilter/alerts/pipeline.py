"""The composition: bytes to a prepared alert, evidence to an annotation; no I/O."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamfilter.alerts.batch import Batcher
from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.drift import Drift
from streamfilter.alerts.field_plan import Gaps
from streamfilter.alerts.normalise import Normalised, normalise, reflect, side_of
from streamfilter.alerts.placement import Placement
from streamfilter.alerts.verdict import SHED, Policy, decide, summarise
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
    """One stamp for the network, and which of its alert's wanted planes it is."""

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
    """An alert whose wanted planes are ready for the network, or are known not to be."""

    alert: Alert
    items: tuple[Item, ...]
    evidence: tuple[StampEvidence | None, ...]
    """One slot per wanted plane: None where the network will speak."""


class Pipeline:
    """What happens to an alert between the brokers; every method may run in any thread.

    Parameters
    ----------
    decoder
        Opens messages.
    planes
        The images to judge, in this order.
    policies
        How each survey is judged; one for every field map.
    engine
        What the annotations name.
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

    @property
    def surveys(self) -> tuple[str, ...]:
        """Those whose alerts can be judged."""
        return tuple(self._policies)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """Those to judge."""
        return self._planes

    def judging(self, *, planes: Sequence[Plane], policies: Mapping[str, Policy]) -> "Pipeline":
        """The same pipeline with other planes and policies; this one stays as it is."""
        return Pipeline(
            decoder=self._decoder, planes=planes, policies=policies, engine=self._engine
        )

    def decode(self, message: Message) -> Alert | Rejected:
        """The alert in a message.

        Raises
        ------
        SchemaUnavailable
            The writer's schema cannot be had now.
        """
        return self._decoder.decode(message, self._planes)

    def with_all_stamps(self, alert: Alert) -> Alert:
        """The alert with every stamp that can be read, also of planes that are not judged."""
        found = self._decoder.decode(alert.message)
        return alert if isinstance(found, Rejected) else found

    def fetch(self, key: SchemaKey) -> None:
        """Learn a writer schema now; see ``Decoder.fetch``."""
        self._decoder.fetch(key)

    def news(self) -> list[Drift | Gaps]:
        """What is new in the topics, and what new schemas do not give; see ``Decoder.news``."""
        return self._decoder.news()

    def prepare(self, alert: Alert) -> Prepared:
        """Normalise the wanted planes."""
        policy = self._policies[alert.survey]
        items: list[Item] = []
        evidence: list[StampEvidence | None] = []
        for slot, plane in enumerate(self._planes):
            stamp = alert.stamps.get(plane)
            found = normalise(stamp) if stamp else NotEvaluated.STAMP_MISSING
            if unreadable := alert.unreadable.get(plane):
                evidence.append(StampEvidence(plane, unreadable.why, detail=unreadable.detail))
            elif isinstance(found, NotEvaluated):
                evidence.append(StampEvidence(plane, found))
            else:
                evidence.append(None)
                items.append(Item(slot, plane, found, policy))
        return Prepared(alert, tuple(items), tuple(evidence))

    def evaluate(self, engine: Engine, items: Sequence[Item]) -> list[StampEvidence]:
        """Evidence of stamps of one side, in their order; at least one."""
        raw, placements = infer(engine, items)
        classes = summarise(raw, placements, [item.policy for item in items])
        return [
            StampEvidence(item.plane, None, item.stamp.filled_px, each)
            for item, each in zip(items, classes, strict=True)
        ]

    def conclude(self, alert: Alert, evidence: Sequence[StampEvidence], times: Times) -> Annotation:
        """The annotation of an alert whose planes all have their evidence."""
        policy = self._policies[alert.survey]
        verdict = decide(evidence, policy.rules)
        return Annotation(alert, verdict, tuple(evidence), self._engine, policy.priors, times)

    def shed(self, alert: Alert, times: Times) -> Annotation:
        """The annotation of an alert that the network does not see, to keep up with the stream."""
        return Annotation(alert, SHED, (), self._engine, self._policies[alert.survey].priors, times)

    def judge(
        self, engine: Engine, messages: Iterable[Message], *, max_items: int = 16
    ) -> Iterator[tuple[Prepared, Annotation] | Rejected]:
        """Judge messages without a stream, in their order; no times are measured.

        Raises
        ------
        SchemaUnavailable
            A writer's schema cannot be had now.
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
        found = [list(each.evidence) if isinstance(each, Prepared) else [] for each in chunk]
        for index, each in enumerate(chunk):
            for item in each.items if isinstance(each, Prepared) else ():
                batches.append(batcher.add(item.side, (index, item), 0.0))
        for batch in (*filter(None, batches), *batcher.flush()):
            evidence = self.evaluate(engine, [item for _, item in batch.items])
            for (index, item), each_evidence in zip(batch.items, evidence, strict=True):
                found[index][item.slot] = each_evidence
        for each, slots in zip(chunk, found, strict=True):
            if isinstance(each, Rejected):
                yield each
            else:
                whole = [slot for slot in slots if slot is not None]
                yield each, self.conclude(each.alert, whole, Times(0.0, 0.0, 0.0, 0.0))


def infer(engine: Engine, items: Sequence[Item]) -> tuple[Tensor, list[Placement]]:
    """Raw probabilities (N, K, side, side) of stamps of one side, and where each stamp lies."""
    side = items[0].side
    batch = np.empty((len(items), 1, side, side), np.float32)
    placements = [reflect(item.stamp, batch[n, 0]) for n, item in enumerate(items)]
    return engine.infer(batch), placements
