"""Turns probabilities per pixel into evidence per stamp, and evidence into a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from streamfilter.alerts.placement import Placement, by_distance
from streamfilter.alerts.surveys import RuleField
from streamfilter.contaminants import BY_CODE, CODES, TABLE
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

_INDEX = {code: k for k, code in enumerate(CODES)}
_SOURCE = _INDEX["BBG"]  # the class of a real source's own pixels
_TRAINING = np.array([row.training_prior for row in TABLE])
SHED = Verdict(Label.NOT_EVALUATED, Action.KEEP, rule="overload")
"""Verdict on an alert that was too old to wait for the network; no stamp is evaluated."""
_ORDER = (Action.DROP, Action.FLAG, Action.KEEP)


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How a survey's alerts are judged: priors and thresholds in the table's order, and rules.

    Raises
    ------
    ValueError
        The priors are not in the order of the class table, or a rule names no contaminant.
    """

    priors: tuple[ClassPrior, ...]
    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        """Refuse wrong priors, thresholds and rules."""
        if (found := tuple(prior.code for prior in self.priors)) != CODES:
            raise ValueError(f"priors of {found}; expected one per class, in order: {CODES}")
        for prior in self.priors:
            if not (0.0 < prior.prior < 1.0 and 0.0 <= prior.threshold < 1.0):
                raise ValueError(
                    f"{prior.code}: prior {prior.prior} and threshold {prior.threshold}; "
                    "expected within (0, 1) and [0, 1)"
                )
        for rule in self.rules:
            row = BY_CODE.get(rule.contaminant)
            if row is None or row.normal:
                raise ValueError(
                    f"rule {rule.name!r} names {rule.contaminant!r}, which is no contaminant; "
                    f"they are {', '.join(row.code for row in TABLE if not row.normal)}"
                )


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
) -> list[tuple[ClassEvidence, ...]]:
    """Returns the evidence of each stamp of a batch, class by class.

    Parameters
    ----------
    raw
        (N, 14, side, side), network output in [0, 1].
    placements, policies
        One per stamp. Only the stamp's own pixels with data count: no reflected and no filled
        pixels.

    Returns
    -------
    list
        For each stamp one ClassEvidence per class, in the table's order.
    """
    return [
        _evidence(output, placement, policy.priors)
        for output, placement, policy in zip(raw, placements, policies, strict=True)
    ]


@lru_cache(maxsize=64)
def _deployment(
    priors: tuple[ClassPrior, ...],
) -> tuple[npt.NDArray[np.float64], Probabilities]:
    """Returns priors, and thresholds on the float32 outputs that decide as in float64.

    A float32 is above a float64 threshold exactly where it is above the largest float32 that is not
    above the threshold.
    """
    deployment = np.array([prior.prior for prior in priors])
    exact = raw_threshold([prior.threshold for prior in priors], _TRAINING, deployment)
    single = exact.astype(np.float32)
    single = np.where(single > exact, np.nextafter(single, np.float32(-1)), single)
    return deployment, single.astype(np.float32)


def _evidence(
    raw: Probabilities, placement: Placement, priors: tuple[ClassPrior, ...]
) -> tuple[ClassEvidence, ...]:
    """Returns the evidence of one stamp; only maxima need the prior change: it is monotonic."""
    height, width = placement.height, placement.width
    rows = slice(placement.top, placement.top + height)
    columns = slice(placement.left, placement.left + width)
    stamp = np.ascontiguousarray(raw[:, rows, columns]).reshape(len(raw), height * width)
    if placement.filled is not None:
        stamp = np.where(placement.filled.ravel(), np.float32(0), stamp)
    nearest_first, distance_px, n_core = by_distance(height, width, placement.place)
    deployment, thresholds = _deployment(priors)
    core_raw = stamp[:, nearest_first[:n_core]].max(axis=1).astype(np.float64)
    peak_raw = stamp.max(axis=1).astype(np.float64)
    above = stamp > thresholds[:, None]
    core, peak = (update(p, _TRAINING, deployment).tolist() for p in (core_raw, peak_raw))
    return tuple(
        ClassEvidence(
            core_raw=core_raw_of_class,
            core=core[k],
            peak=peak[k],
            pixels=(pixels := int(np.count_nonzero(above[k]))),
            # argmax of a mask in order of distance is its nearest pixel.
            distance_px=float(distance_px[above[k][nearest_first].argmax()]) if pixels else None,
        )
        for k, core_raw_of_class in enumerate(core_raw.tolist())
    )


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
    evidence = stamp.classes[_INDEX[rule.contaminant]]
    if rule.statistic is Statistic.CORE:
        value = evidence.core
    else:
        value = evidence.peak if rule.statistic is Statistic.PEAK else evidence.pixels
    return (
        value > rule.above
        and stamp.classes[_SOURCE].core <= rule.unless_source_above
        and rule.allows(fields)
    )
