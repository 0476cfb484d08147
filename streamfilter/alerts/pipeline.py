"""The steps from bytes to an annotation, put together; no I/O."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from streamfilter.alerts.batch import Batcher
from streamfilter.alerts.beside import Beside, beside, stamps_read, usable
from streamfilter.alerts.decode import ColumnPlan, Decoder
from streamfilter.alerts.drift import Drift
from streamfilter.alerts.field_plan import Gaps
from streamfilter.alerts.normalise import Normalised, reflect_batch, side_of
from streamfilter.alerts.placement import Placement
from streamfilter.alerts.surveys import RuleField
from streamfilter.alerts.verdict import (
    SHED,
    Policy,
    decide,
    heard,
    in_doubt,
    rule_fields,
    summarise,
)
from streamfilter.fits.stamps import VARIANCE
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.inference.manifest import Manifest
from streamfilter.records import (
    Alert,
    Annotation,
    Doubt,
    EngineIdentity,
    Message,
    Opinion,
    Plane,
    Rejected,
    StampEvidence,
    Times,
)
from streamfilter.schemas.finder import SchemaKey
from streamfilter.schemas.wire import WriterSchema


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One stamp for the network; ``slot`` is its index among the judged planes."""

    slot: int
    alert: Alert
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


@dataclass(frozen=True, kw_only=True, slots=True)
class FurtherEngine:
    """An engine that is asked after the first about some stamps, or all."""

    identity: EngineIdentity
    network: Manifest
    when: Doubt | None
    """Where it is asked; None: about every stamp that it takes."""

    def is_asked(self, plane: Plane, first: StampEvidence) -> bool:
        """Returns whether it is asked about a stamp, by what the first engine says of it.

        An engine of several planes judges the science stamp alone.
        """
        if len(self.network.planes) > 1 and plane is not Plane.SCIENCE:
            return False
        return self.when is None or in_doubt(self.when, first.classes)


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
        The network that the annotations name, which judges every alert.
    network
        What it takes and gives.
    also
        Engines that are asked after it, in this order; the policies have theirs in the same one.
    fields
        What is read of alerts beside the fields that rules look at.

    Raises
    ------
    ConfigurationInvalid
        A rule looks at a field that the survey's field map does not name, or ``fields`` has one.
    """

    def __init__(
        self,
        *,
        decoder: Decoder,
        planes: Sequence[Plane],
        policies: Mapping[str, Policy],
        engine: EngineIdentity,
        network: Manifest,
        also: Sequence[FurtherEngine] = (),
        fields: frozenset[RuleField] = frozenset(),
    ) -> None:
        self._decoder = decoder
        self._planes = tuple(planes)
        self._policies = policies
        self._engine = engine
        self._network = network
        self._also = tuple(also)
        self._read = stamps_read(self._planes, network, *(each.network for each in also))
        # A stamp that is judged brings its noise; nothing looks at the others', nor at any PSF.
        self._extensions = {
            plane: (VARIANCE,) if plane in self._planes else () for plane in self._read
        }
        self._more_fields = fields
        self._fields = rule_fields(policies) | fields
        decoder.surveys.refuse_unnamed(self._fields)

    @property
    def surveys(self) -> tuple[str, ...]:
        """Names of the surveys whose alerts can be judged."""
        return tuple(self._policies)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes to judge, in order."""
        return self._planes

    @property
    def also(self) -> tuple[FurtherEngine, ...]:
        """The engines that are asked after the first, in order."""
        return self._also

    @property
    def policies(self) -> Mapping[str, Policy]:
        """How the alerts of each survey are judged."""
        return self._policies

    def judging(
        self,
        *,
        planes: Sequence[Plane] | None = None,
        policies: Mapping[str, Policy] | None = None,
        fields: frozenset[RuleField] | None = None,
    ) -> "Pipeline":
        """Returns a copy of this pipeline with what is given; raises as making one."""
        return Pipeline(
            decoder=self._decoder,
            planes=self._planes if planes is None else planes,
            policies=self._policies if policies is None else policies,
            engine=self._engine,
            network=self._network,
            also=self._also,
            fields=self._more_fields if fields is None else fields,
        )

    def decode(self, message: Message) -> Alert | Rejected:
        """Returns the alert in a message.

        Raises
        ------
        SchemaUnavailable
            The writer's schema cannot be fetched now.
        """
        return self._decoder.decode(message, self._read, self._fields, self._extensions)

    def columns(self, schema: WriterSchema) -> ColumnPlan:
        """Returns how alerts are read from a table's columns; see ``Decoder.columns``."""
        return self._decoder.columns(schema, self._read, self._fields, self._extensions)

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
        unusable: tuple[StampEvidence, ...] = ()
        policy = self._policies[alert.survey]
        for slot, plane in enumerate(self._planes):
            stamp = usable(alert, plane, self._network.sides_px[-1])
            if isinstance(stamp, StampEvidence):
                evidence.append(stamp)
                continue
            evidence.append(None)
            items.append(_item(slot, alert, plane, stamp, policy, self._network))
            unusable = items[-1].beside.unusable
        return Prepared(alert, tuple(items), (*evidence, *unusable))

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

    def asked_about(self, item: Item, first: StampEvidence) -> tuple[int, ...]:
        """Returns the numbers, from 0, of the further engines that are asked about a stamp.

        Parameters
        ----------
        first
            What the first engine says of it.
        """
        return tuple(
            number for number, each in enumerate(self._also) if each.is_asked(item.plane, first)
        )

    def ask(
        self, number: int, engine: Engine, items: Sequence[Item], evidence: Sequence[StampEvidence]
    ) -> list[StampEvidence]:
        """Returns the evidence of stamps with what a further engine says of them, in order.

        Parameters
        ----------
        number
            The further engine's, from 0; ``engine`` is the same, opened.
        items
            As the first engine took them; here they may differ in their sides.
        """
        further, found = self._also[number], list(evidence)
        by_side: dict[int, list[tuple[int, Item]]] = {}
        for at, item in enumerate(items):
            policy, largest_px = item.policy.also[number], further.network.sides_px[-1]
            stamp: Normalised | StampEvidence = item.stamp
            if largest_px != self._network.sides_px[-1]:
                stamp = usable(item.alert, item.plane, largest_px)
            if isinstance(stamp, StampEvidence):
                found[at] = heard(found[at], [stamp], policy)
                continue
            its = _item(item.slot, item.alert, item.plane, stamp, policy, further.network)
            by_side.setdefault(its.side, []).append((at, its))
        for batch in by_side.values():
            opinions = self.evaluate(engine, [its for _, its in batch])
            for (at, its), opinion in zip(batch, opinions, strict=True):
                found[at] = heard(found[at], [opinion, *its.beside.unusable], its.policy)
        return found

    def conclude(self, alert: Alert, evidence: Sequence[StampEvidence], times: Times) -> Annotation:
        """Returns the annotation of an alert, from the evidence of all its planes."""
        policy = self._policies[alert.survey]
        verdict = decide(evidence, policy.rules, alert.fields)
        also = tuple(self._opinions(policy, evidence, times))
        stamps = tuple(evidence)
        return Annotation(alert, verdict, stamps, self._engine, policy.priors, times, also)

    def _opinions(
        self, policy: Policy, evidence: Sequence[StampEvidence], times: Times
    ) -> Iterator[Opinion]:
        """Yields what each further engine says that was asked."""
        for further, its in zip(self._also, policy.also, strict=True):
            name = its.engine
            stamps = tuple(each for stamp in evidence for each in stamp.also.get(name, ()))
            if stamps:
                yield Opinion(further.identity, its.priors, stamps, times.also_s.get(name, 0.0))

    def shed(self, alert: Alert, times: Times) -> Annotation:
        """Returns the annotation of an alert that skips the network, to keep up with the stream."""
        return Annotation(alert, SHED, (), self._engine, self._policies[alert.survey].priors, times)

    def judge(
        self,
        engine: Engine,
        messages: Iterable[Message],
        *,
        also: Sequence[Engine] = (),
        max_items: int = 16,
    ) -> Iterator[tuple[Prepared, Annotation] | Rejected]:
        """Judge messages that are no stream, in order; no times are measured.

        Parameters
        ----------
        also
            The further engines, opened, in the pipeline's order.

        Raises
        ------
        SchemaUnavailable
            A writer's schema cannot be fetched now.
        """
        alerts = map(self.decode, messages)
        return self.judge_alerts(engine, alerts, also=also, max_items=max_items)

    def judge_alerts(
        self,
        engine: Engine,
        alerts: Iterable[Alert | Rejected],
        *,
        also: Sequence[Engine] = (),
        max_items: int = 16,
    ) -> Iterator[tuple[Prepared, Annotation] | Rejected]:
        """Judge alerts that are decoded, in order, as ``judge`` does; rejections are passed on."""
        chunk: list[Prepared | Rejected] = []
        for alert in alerts:
            chunk.append(alert if isinstance(alert, Rejected) else self.prepare(alert))
            if len(chunk) == max_items:
                yield from self._judge(engine, also, chunk, max_items)
                chunk = []
        yield from self._judge(engine, also, chunk, max_items)

    def _judge(
        self,
        engine: Engine,
        also: Sequence[Engine],
        chunk: Sequence[Prepared | Rejected],
        max_items: int,
    ) -> Iterator[tuple[Prepared, Annotation] | Rejected]:
        batcher: Batcher[int, tuple[int, Item]] = Batcher(max_items=max_items)
        batches = []
        evidences = [list(each.evidence) if isinstance(each, Prepared) else [] for each in chunk]
        for index, each in enumerate(chunk):
            for item in each.items if isinstance(each, Prepared) else ():
                batches.append(batcher.add(item.side, (index, item), 0.0))
        for batch in (*filter(None, batches), *batcher.flush()):
            evidence = self._evaluate_all(engine, also, [item for _, item in batch.items])
            for (index, item), each_evidence in zip(batch.items, evidence, strict=True):
                evidences[index][item.slot] = each_evidence
        for each, slots in zip(chunk, evidences, strict=True):
            if isinstance(each, Rejected):
                yield each
            else:
                whole = [slot for slot in slots if slot is not None]
                yield each, self.conclude(each.alert, whole, Times(0.0, 0.0, 0.0, 0.0))

    def _evaluate_all(
        self, engine: Engine, also: Sequence[Engine], items: Sequence[Item]
    ) -> list[StampEvidence]:
        """Returns what all engines say of stamps of the same side, in order."""
        evidence = self.evaluate(engine, items)
        asked = [self.asked_about(*each) for each in zip(items, evidence, strict=True)]
        for number, further in zip(range(len(self._also)), also, strict=True):
            of = [at for at, numbers in enumerate(asked) if number in numbers]
            chosen = [items[at] for at in of], [evidence[at] for at in of]
            for at, found in zip(of, self.ask(number, further, *chosen), strict=True):
                evidence[at] = found
        return evidence


def _item(
    slot: int, alert: Alert, plane: Plane, stamp: Normalised, policy: Policy, network: Manifest
) -> Item:
    """Returns a stamp as a network takes it."""
    side, names = side_of(stamp.image.shape, network.sides_px), network.planes[1:]
    seen = beside(alert, stamp, names, network.sides_px[-1]) if names else Beside()
    return Item(slot, alert, plane, stamp, policy, side, seen)


def infer(engine: Engine, items: Sequence[Item]) -> tuple[Tensor, list[Placement]]:
    """Returns raw probabilities (N, K, side, side) of stamps, and where each stamp lies in them."""
    side, planes = items[0].side, 1 + len(items[0].beside.images)
    batch = np.empty((len(items), planes, side, side), np.float32)
    placements: list[Placement] = []
    for _, alike in groupby(items, lambda item: item.stamp.image.shape):
        stamps = [(item.stamp, item.beside.images) for item in alike]
        start = len(placements)
        placements += reflect_batch(stamps, batch[start : start + len(stamps)])
    return engine.infer(batch), placements
