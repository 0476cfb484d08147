"""Turns probabilities per pixel into evidence per stamp, and evidence into a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from streamfilter.alerts.placement import Placement, by_distance
from streamfilter.alerts.surveys import RuleField
from streamfilter.contaminants import BY_CODE
from streamfilter.inference.manifest import OutputClass
from streamfilter.posterior import raw_threshold, update
from streamfilter.records import (
    Action,
    ClassEvidence,
    ClassPrior,
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
        The priors are not one per class in the order of the classes, or a rule names a class that
        the engine does not have.
    """

    classes: tuple[OutputClass, ...]
    """In the order of the engine's outputs."""
    priors: tuple[ClassPrior, ...]
    rules: tuple[Rule, ...]
    deployment: _Deployment = field(init=False, repr=False, compare=False)

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
        for rule in self.rules:
            _check_rule(rule, codes)
        object.__setattr__(self, "deployment", _deployment(self.classes, self.priors))


def _check_rule(rule: Rule, codes: Sequence[str]) -> None:
    """Refuse a rule on a class that the engine does not have; it could never apply."""
    contaminants = [code for code in codes if not BY_CODE[code].normal]
    if rule.contaminant not in contaminants:
        raise ValueError(
            f"rule {rule.name!r} names {rule.contaminant!r}, which is no contaminant of this "
            f"engine; they are {', '.join(contaminants)}"
        )
    if rule.unless_source_above < 1.0 and _SOURCE not in codes:
        raise ValueError(
            f"rule {rule.name!r} has unless_source_above, but this engine does not find sources "
            f"({_SOURCE}); leave it out"
        )


def _deployment(classes: Sequence[OutputClass], priors: Sequence[ClassPrior]) -> _Deployment:
    training = np.array([row.training_prior for row in classes])
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
    return [
        _evidence(output, placement, policy)
        for output, placement, policy in zip(raw, placements, policies, strict=True)
    ]


def _evidence(raw: Probabilities, placement: Placement, policy: Policy) -> dict[str, ClassEvidence]:
    """Returns the evidence of one stamp; only maxima need the prior change: it is monotonic."""
    height, width = placement.height, placement.width
    rows = slice(placement.top, placement.top + height)
    columns = slice(placement.left, placement.left + width)
    stamp = np.ascontiguousarray(raw[:, rows, columns]).reshape(len(raw), height * width)
    if placement.filled is not None:
        stamp = np.where(placement.filled.ravel(), np.float32(0), stamp)
    nearest_first, distance_px, n_core = by_distance(height, width, placement.place)
    by = policy.deployment
    core_raw = stamp[:, nearest_first[:n_core]].max(axis=1).astype(np.float64)
    peak_raw = stamp.max(axis=1).astype(np.float64)
    above = stamp > by.thresholds[:, None]
    core, peak = (update(p, by.training, by.priors).tolist() for p in (core_raw, peak_raw))
    return {
        row.code: ClassEvidence(
            core_raw=core_raw_of_class,
            core=core[k],
            peak=peak[k],
            pixels=(pixels := int(np.count_nonzero(above[k]))),
            # argmax of a mask in order of distance is its nearest pixel.
            distance_px=float(distance_px[above[k][nearest_first].argmax()]) if pixels else None,
        )
        for k, (row, core_raw_of_class) in enumerate(
            zip(policy.classes, core_raw.tolist(), strict=True)
        )
    }


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
    evidence = stamp.classes[rule.contaminant]
    if rule.statistic is Statistic.CORE:
        value = evidence.core
    else:
        value = evidence.peak if rule.statistic is Statistic.PEAK else evidence.pixels
    source = stamp.classes.get(_SOURCE)  # an engine without it has no rule with this guard
    return (
        value > rule.above
        and (source is None or source.core <= rule.unless_source_above)
        and rule.allows(fields)
    )
