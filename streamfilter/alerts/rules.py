"""Default policies: priors, thresholds and rules by engine and survey; the configuration overrides.

A measurement (``tests/bench/bench_rules.py``) decides which classes may drop an alert: those whose
values stay low, with a margin, where real sources are. No dropping rule applies where the network
also finds the pixels of a source (BBG), because a real transient that is dropped is lost. Such an
alert is flagged instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from streamfilter.alerts.verdict import Policy
from streamfilter.contaminants import BY_CODE
from streamfilter.inference.manifest import Manifest
from streamfilter.records import Action, ClassPrior, Label, Rule, Statistic


def _drop(name: str, contaminant: str, above: float, *, unless_source_above: float) -> Rule:
    """Returns a rule that drops where the class is at the alert's place and no source is."""
    return Rule(
        name=name,
        contaminant=contaminant,
        statistic=Statistic.CORE,
        above=above,
        unless_source_above=unless_source_above,
    )


def _flag(name: str, contaminant: str, above: float, statistic: Statistic = Statistic.CORE) -> Rule:
    """Returns a rule that labels an alert as suspect and leaves it in the stream."""
    return Rule(
        name=name,
        contaminant=contaminant,
        statistic=statistic,
        above=above,
        label=Label.SUSPECT,
        action=Action.FLAG,
    )


PRIORS = {"HCL": 1e-4, "HP": 1e-4, "DP": 1e-4}
"""Priors that differ from the class table, which has the shares of all pixels. An alert's place is
no random pixel: something was detected there, so defects of one pixel are over-represented."""

# The highest values at 298 real ZTF alerts, 2,043 ZTF stars and 24 LSST packets: TRL .01, HCL .004,
# DCL .001, DP .01, and HP .84 at a place with a source above .99.
DEFECTS = (
    _drop("trail", "TRL", 0.20, unless_source_above=0.5),
    _drop("hot-column", "HCL", 0.50, unless_source_above=0.5),
    _drop("dead-column", "DCL", 0.50, unless_source_above=0.5),
    _drop("hot-pixel", "HP", 0.50, unless_source_above=0.2),
    _drop("dead-pixel", "DP", 0.80, unless_source_above=0.2),
)

# Never more than flags: P, FR, NEB and OV have no truth to be measured by, SP takes 0.7 % of
# painted asteroids, SAT rises with brightness (up to 14 px in 1,042 ZTF stamps, none saturated).
DOUBTS = (
    _flag("trail-on-source", "TRL", 0.20),
    _flag("trail-in-stamp", "TRL", 30, Statistic.PIXELS),
    _flag("hot-column-on-source", "HCL", 0.50),
    _flag("hot-column-in-stamp", "HCL", 30, Statistic.PIXELS),
    _flag("dead-column-on-source", "DCL", 0.50),
    _flag("spike", "SP", 0.70),
    _flag("saturated", "SAT", 16, Statistic.PIXELS),
    _flag("persistence", "P", 0.65),
    _flag("fringes", "FR", 0.76),
    _flag("nebulosity", "NEB", 0.56),
    _flag("overscan", "OV", 0.55),
)

GENERIC = (
    # In frames of four cameras, inspected by eye, hits have a source below .1, and stars that pass
    # .3 have one above .3.
    _drop("cosmic-ray", "CR", 0.30, unless_source_above=0.10),
    _drop("cosmic-ray-sure", "CR", 0.85, unless_source_above=0.30),
    *DEFECTS,
    _flag("cosmic-ray-on-source", "CR", 0.43),
    *DOUBTS,
)

RULES: dict[str, tuple[Rule, ...]] = {
    # 1 arcsec/px: stars are undersampled, and 2.5 % of them pass .43, 0.3 % with the guards.
    "ztf": (
        _drop("cosmic-ray", "CR", 0.30, unless_source_above=0.05),
        _drop("cosmic-ray-sure", "CR", 0.85, unless_source_above=0.50),
        *DEFECTS,
        _flag("cosmic-ray-on-source", "CR", 0.60),
        *DOUBTS,
    ),
    # Well sampled: of 1,800 painted stars and asteroids one passes .15 and none .25, of painted
    # hits 95 % do. A half-repaired track keeps a source at .41, so the guard is wide.
    "lsst": (
        _drop("cosmic-ray", "CR", 0.25, unless_source_above=0.80),
        *DEFECTS,
        _flag("cosmic-ray-on-source", "CR", 0.15),
        *DOUBTS,
    ),
}
"""Rules of surveys that have their own; all other surveys use ``GENERIC``. All are MaxiMask's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredRules:
    """Rules that were chosen by measuring one engine on real alerts."""

    generic: tuple[Rule, ...]
    surveys: Mapping[str, tuple[Rule, ...]]
    """Of surveys that have their own."""


STAMPMASK = (
    # Of 194 real ZTF alerts and 600 painted transients none passes CR .3 or HP .5 whatever the
    # guard, nor TRL .5 where BBG is below .9; hits often have a BBG up to .9 of their own.
    _drop("cosmic-ray", "CR", 0.30, unless_source_above=0.98),
    _drop("hot-pixel", "HP", 0.50, unless_source_above=0.90),
    _drop("trail", "TRL", 0.50, unless_source_above=0.90),
    _drop("hot-column", "HCL", 0.50, unless_source_above=0.50),
    # One of them has a DCL of .66 beside a BBG of .67; .75 costs one painted column in a hundred.
    _drop("dead-column", "DCL", 0.75, unless_source_above=0.50),
    _drop("dead-pixel", "DP", 0.80, unless_source_above=0.50),
    _flag("cosmic-ray-on-source", "CR", 0.30),
    _flag("trail-on-source", "TRL", 0.50),
    _flag("trail-in-stamp", "TRL", 30, Statistic.PIXELS),
    _flag("hot-column-on-source", "HCL", 0.50),
    _flag("dead-column-on-source", "DCL", 0.75),
    _flag("hot-pixel-on-source", "HP", 0.50),
    # A star that varies may leave a residual too: never more than a flag.
    _flag("residual", "RES", 0.50),
    _flag("spike", "SP", 0.70),
    _flag("saturated", "SAT", 16, Statistic.PIXELS),
)
"""Of stampmask, which sees all planes (engines/stampmask/MODEL_CARD.md)."""

MEASURED = {
    "maximask": MeasuredRules(generic=GENERIC, surveys=RULES),
    "stampmask": MeasuredRules(generic=STAMPMASK, surveys={}),
}
"""By engine. One that was not measured drops nothing: it flags each class at its threshold."""


def _rules(engine: Manifest, survey: str, priors: Sequence[ClassPrior]) -> tuple[Rule, ...]:
    """Returns the default rules of an engine for a survey."""
    if engine.name in MEASURED:
        measured = MEASURED[engine.name]
        return measured.surveys.get(survey, measured.generic)
    return tuple(
        _flag(BY_CODE[each.code].meaning.replace(" ", "-"), each.code, each.threshold)
        for each in priors
        if not BY_CODE[each.code].normal
    )


def policy(
    survey: str,
    engine: Manifest,
    *,
    also: Sequence[Manifest] = (),
    priors: Mapping[str, float] | None = None,
    thresholds: Mapping[str, float] | None = None,
    rules: Sequence[Rule] | None = None,
) -> Policy:
    """Returns how an engine judges a survey's alerts: its defaults with overrides.

    Parameters
    ----------
    also
        Further engines. By default theirs stand behind its rules, each under a name of its own.
    priors, thresholds
        Values by class code, for each engine that has it; other classes keep their defaults.
    rules
        Rules that replace all default rules of the survey.

    Raises
    ------
    ValueError
        No engine has a class, a prior is out of range, or a rule names no contaminant.
    """
    priors, thresholds = priors or {}, thresholds or {}
    engines = (engine, *also)
    codes = tuple(dict.fromkeys(code for each in engines for code in each.codes))
    if unknown := sorted({*priors, *thresholds} - set(codes)):
        raise ValueError(
            f"{' and '.join(each.name for each in engines)} has no class {', '.join(unknown)}; "
            f"it has {', '.join(codes)}"
        )
    chosen = [_priors(each, priors, thresholds) for each in engines]
    if rules is None:
        rules = _rules(engine, survey, chosen[0])
        for further, its in zip(also, chosen[1:], strict=True):
            rules = (*rules, *(_named(rule, further.name) for rule in _rules(further, survey, its)))
    return Policy(
        engine=engine.name,
        classes=engine.classes,
        priors=chosen[0],
        rules=tuple(rules),
        also=tuple(
            Policy(engine=further.name, classes=further.classes, priors=its, rules=())
            for further, its in zip(also, chosen[1:], strict=True)
        ),
    )


def _priors(
    engine: Manifest, priors: Mapping[str, float], thresholds: Mapping[str, float]
) -> tuple[ClassPrior, ...]:
    """Returns prior and threshold of each class of an engine, in its order."""
    return tuple(
        ClassPrior(
            row.code,
            priors.get(row.code, row.prior or PRIORS.get(row.code) or BY_CODE[row.code].prior),
            thresholds.get(row.code, row.threshold or BY_CODE[row.code].threshold),
        )
        for row in engine.classes
    )


def _named(rule: Rule, engine: str) -> Rule:
    """Returns a rule of a further engine, with the engine in its name."""
    return replace(rule, name=f"{engine}-{rule.name}", engine=engine)
