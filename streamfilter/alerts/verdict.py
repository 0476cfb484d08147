"""Turns probabilities per pixel into evidence per stamp, and evidence into a verdict."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from streamfilter.alerts.placement import Placement, by_distance
from streamfilter.alerts.surveys import RuleField
from streamfilter.contaminants import BY_CODE
from streamfilter.inference.manifest import OutputClass
from streamfilter.posterior import pooled, raw_threshold, update
from streamfilter.records import (
    Action,
    ClassEvidence,
    ClassPrior,
    Doubt,
    FieldValue,
    Label,
    Rule,
    StampEvidence,
    Statistic,
    Verdict,
    fields_of,
)

Probabilities = npt.NDArray[np.float32]

_SOURCE = "BBG"  # the class of a real source's own pixels
SHED = Verdict(Label.NOT_EVALUATED, Action.KEEP, rule="overload")
"""Verdict on an alert that was too old to wait for the network; no stamp is evaluated."""
_PRIORS = ("training", "priors")
_ORDER = (Action.DROP, Action.FLAG, Action.KEEP)


@dataclass(frozen=True, slots=True, eq=False)
class _Deployment:
    """Priors of training and of real images, and thresholds on the float32 outputs.

    A float32 is above a float64 threshold exactly where it is above the largest float32 that is not
    above the threshold.
    """

    training: npt.NDArray[np.float64]
    priors: npt.NDArray[np.float64]
    thresholds: Probabilities


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How one engine judges a survey's alerts: its classes, their priors and thresholds, and rules.

    Raises
    ------
    ValueError
        The priors are not one per class in the order of the classes, or a rule names an engine that
        there is not, or a class that its engine does not have.
    """

    classes: tuple[OutputClass, ...]
    """In the order of the engine's outputs."""
    priors: tuple[ClassPrior, ...]
    rules: tuple[Rule, ...]
    """Each with the further engine whose numbers it looks at; without a name: this one's."""
    engine: str = ""
    """Its name."""
    also: tuple["Policy", ...] = ()
    """Of further engines, in their order; without rules, which all stand here."""
    _deployments: Mapping[int, _Deployment] = field(init=False, repr=False, compare=False)
    """By side from which on they hold, in falling order; 0 for all others."""

    def __post_init__(self) -> None:
        """Refuse wrong priors, thresholds and rules."""
        codes = tuple(row.code for row in self.classes)
        if (found := tuple(prior.code for prior in self.priors)) != codes:
            raise ValueError(f"priors of {found}; expected one per class, in order: {codes}")
        for prior in self.priors:
            if not (0.0 < prior.prior < 1.0 and 0.0 <= prior.threshold < 1.0):
                raise ValueError(
                    f"{prior.code}: prior {prior.prior} and threshold {prior.threshold}; "
                    "expected within (0, 1) and [0, 1)"
                )
        object.__setattr__(self, "rules", tuple(_bound(rule, self) for rule in self.rules))
        sides = {side for row in self.classes for side, _ in row.training_priors}
        deployments = {
            side: _deployment(self.classes, self.priors, side)
            for side in sorted({0, *sides}, reverse=True)
        }
        object.__setattr__(self, "_deployments", deployments)

    @property
    def codes(self) -> tuple[str, ...]:
        """Class codes in the order of the engine's outputs."""
        return tuple(row.code for row in self.classes)

    def deployment(self, side_px: int) -> _Deployment:
        """Returns the priors and thresholds of stamps whose input has this side."""
        return next(each for side, each in self._deployments.items() if side <= side_px)

    @property
    def contaminants(self) -> tuple[str, ...]:
        """Those of them that are no sources and no sky."""
        return tuple(code for code in self.codes if not BY_CODE[code].normal)


def _bound(rule: Rule, policy: Policy) -> Rule:
    """Returns a rule with the engine that it looks at; refuses one that could never apply."""
    engines = (policy, *policy.also)
    named = [each for each in engines if rule.engine in ("", each.engine)]
    if not named:
        raise ValueError(
            f"rule {rule.name!r} has engine {rule.engine!r}; there are "
            f"{', '.join(each.engine for each in engines)}"
        )
    together = rule.statistic is Statistic.TOGETHER
    if together and rule.engine:
        raise ValueError(
            f"rule {rule.name!r} looks at all engines together; leave engine = {rule.engine!r} out"
        )
    having = [each for each in named if rule.contaminant in each.contaminants]
    if not having:
        codes = dict.fromkeys(code for each in named for code in each.contaminants)
        which = "this engine" if len(named) == 1 else "these engines"
        raise ValueError(
            f"rule {rule.name!r} names {rule.contaminant!r}, which is no contaminant of {which}; "
            f"they are {', '.join(codes)}"
        )
    guards = engines if together else having[:1]
    if rule.unless_source_above < 1.0 and not any(_SOURCE in each.codes for each in guards):
        raise ValueError(
            f"rule {rule.name!r} has unless_source_above, but this engine does not find sources "
            f"({_SOURCE}); leave it out"
        )
    own = together or having[0] is policy
    return replace(rule, engine="" if own else having[0].engine)


def _deployment(
    classes: Sequence[OutputClass], priors: Sequence[ClassPrior], side_px: int
) -> _Deployment:
    training = np.array([row.trained_at(side_px) for row in classes])
    deployment = np.array([prior.prior for prior in priors])
    exact = raw_threshold([prior.threshold for prior in priors], training, deployment)
    single = exact.astype(np.float32)
    single = np.where(single > exact, np.nextafter(single, np.float32(-1)), single)
    return _Deployment(training, deployment, single.astype(np.float32))


def rule_fields(policies: Mapping[str, Policy]) -> frozenset[RuleField]:
    """Returns the fields that the rules of surveys look at.

    Raises
    ------
    ValueError
        A survey's rules compare a field both with numbers and with texts.
    """
    return frozenset(
        RuleField(survey, name, kind)
        for survey, policy in policies.items()
        for name, kind in fields_of(policy.rules).items()
    )


def summarise(
    raw: Probabilities, placements: Sequence[Placement], policies: Sequence[Policy]
) -> list[dict[str, ClassEvidence]]:
    """Returns the evidence of each stamp of a batch, class by class.

    Parameters
    ----------
    raw
        (N, K, side, side), network output in [0, 1]; K classes in the order of the policies.
    placements, policies
        One per stamp. Only the stamp's own pixels with data count: no reflected and no filled
        pixels.

    Returns
    -------
    list
        For each stamp one ClassEvidence per class of the engine, by code.
    """
    by = [policy.deployment(raw.shape[-1]) for policy in policies]
    thresholds = np.stack([each.thresholds for each in by])
    highest = np.empty((len(raw), 2, raw.shape[1]))
    pixels = np.zeros((len(raw), raw.shape[1]), np.intp)
    nearest_px = np.full(pixels.shape, np.nan)
    for of in _runs(placements):
        highest[of], pixels[of], nearest_px[of] = _maxima(
            raw[of], placements[of.start], thresholds[of]
        )
    # Only maxima need the prior change: it is monotonic.
    training, priors = (np.stack([getattr(each, of) for each in by])[:, None] for of in _PRIORS)
    posteriors = update(highest, training, priors)
    return [
        {
            row.code: ClassEvidence(core_raw, core, peak, above, None if not above else distance)
            for row, core_raw, core, peak, above, distance in zip(
                policy.classes, *columns, strict=True
            )
        }
        for policy, *columns in zip(
            policies,
            highest[:, 0].tolist(),
            *posteriors.swapaxes(0, 1).tolist(),
            pixels.tolist(),
            nearest_px.tolist(),
            strict=True,
        )
    ]


def _runs(placements: Sequence[Placement]) -> Iterator[slice]:
    """Yields the runs of stamps of one window and place; one with pixels without data is alone."""

    def window(number: int) -> tuple[object, ...]:
        each = placements[number]
        alone = None if each.filled is None else number
        return each.top, each.left, each.height, each.width, each.place, alone

    for _, run in groupby(range(len(placements)), window):
        first, *others = run
        yield slice(first, first + 1 + len(others))


def _maxima(
    raw: Probabilities, place: Placement, thresholds: Probabilities
) -> tuple[Probabilities, npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Returns the extremes of stamps of one window and place, by stamp and class.

    Returns
    -------
    tuple
        The highest output in the core and in the stamp (N, 2, K); the number of pixels above the
        threshold (N, K); and the distance of the nearest of them, NaN where there is none (N, K).
    """
    count, (height, width) = raw.shape[:2], (place.height, place.width)
    window = raw[:, :, place.top : place.top + height, place.left : place.left + width]
    if place.filled is not None:
        window = np.where(place.filled, np.float32(0), window)
    nearest_first, distance_px, n_core = by_distance(height, width, place.place)
    core = window[:, :, *np.divmod(nearest_first[:n_core], width)].max(axis=2)
    peak = window.max(axis=(2, 3))
    pixels, nearest_px = np.zeros(count, np.intp), np.full(count, np.nan)
    reached = np.nonzero(peak > thresholds)
    above = window[reached] > thresholds[reached][:, None, None]
    above = above.reshape(len(above), height * width)
    pixels[reached] = np.count_nonzero(above, axis=1)
    # argmax of a mask in order of distance is its nearest pixel.
    nearest_px[reached] = distance_px[above.take(nearest_first, axis=1).argmax(axis=1)]
    return np.stack([core, peak], axis=1), pixels, nearest_px


def in_doubt(doubt: Doubt, evidence: Mapping[str, ClassEvidence]) -> bool:
    """Returns whether an engine is in doubt about a stamp, by its evidence by class."""
    chosen = doubt.classes or [code for code in evidence if not BY_CODE[code].normal]
    return doubt.holds(max((evidence[code].core for code in chosen), default=0.0))


def heard(stamp: StampEvidence, opinion: Sequence[StampEvidence], policy: Policy) -> StampEvidence:
    """Returns a stamp's evidence with what one further engine says of it.

    Parameters
    ----------
    opinion
        Its evidence from the same stamp, then from those beside it that cannot be used.
    policy
        How that engine judges the survey's alerts.
    """
    priors = {row.code: row.prior for row in policy.priors}
    together = dict(stamp.together)
    for code, its in opinion[0].classes.items():
        own = stamp.classes.get(code)
        before = together.get(code, None if own is None else own.core)
        together[code] = its.core if before is None else pooled(before, its.core, priors[code])
    return replace(stamp, also={**stamp.also, policy.engine: tuple(opinion)}, together=together)


def decide(
    evidence: Sequence[StampEvidence],
    rules: Sequence[Rule],
    fields: Mapping[str, FieldValue] = MappingProxyType({}),
) -> Verdict:
    """Returns the verdict of the first rule that applies; dropping rules go before flagging ones.

    Parameters
    ----------
    evidence
        One per wanted plane; a rule on a plane that was not evaluated does not apply.
    rules
        In order of precedence within an action.
    fields
        Values of the alert's own fields by name; a field that has none is absent.

    Returns
    -------
    Verdict
        Clean where no rule applies; not evaluated, and kept, where no rule's plane was evaluated.
    """
    evaluated = {stamp.plane: stamp for stamp in evidence if stamp.not_evaluated is None}
    if all(rule.plane not in evaluated for rule in rules):
        return Verdict(Label.NOT_EVALUATED, Action.KEEP)
    for action in _ORDER:
        for rule in rules:
            stamp = evaluated.get(rule.plane)
            if rule.action is action and stamp is not None and applies(rule, stamp, fields):
                return Verdict(rule.label, rule.action, rule.contaminant, rule.name)
    return Verdict(Label.CLEAN, Action.KEEP)


def applies(rule: Rule, stamp: StampEvidence, fields: Mapping[str, FieldValue]) -> bool:
    """Returns whether a rule applies to an evaluated stamp of an alert with these fields."""
    voices = _voices(rule, stamp)
    having = [each[rule.contaminant] for each in voices if rule.contaminant in each]
    if not having:  # of an engine that was not asked
        return False
    evidence = having[0]
    if rule.statistic is Statistic.TOGETHER:
        value = stamp.together.get(rule.contaminant, evidence.core)
    elif rule.statistic is Statistic.CORE:
        value = evidence.core
    else:
        value = evidence.peak if rule.statistic is Statistic.PEAK else evidence.pixels
    if not value > rule.above:
        return False
    # An engine without sources has no rule with this guard.
    sources = [each[_SOURCE].core for each in voices if _SOURCE in each]
    return all(source <= rule.unless_source_above for source in sources) and rule.allows(fields)


def _voices(rule: Rule, stamp: StampEvidence) -> list[Mapping[str, ClassEvidence]]:
    """Returns what the engines find that a rule looks at, of those that were asked."""
    if rule.statistic is Statistic.TOGETHER:
        return [stamp.classes, *(opinion[0].classes for opinion in stamp.also.values())]
    if not rule.engine:
        return [stamp.classes]
    return [opinion.classes for opinion in stamp.also.get(rule.engine, ())[:1]]
