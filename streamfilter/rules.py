"""Default policies: priors, thresholds and rules per survey, which the configuration overrides."""

from collections.abc import Mapping, Sequence

from streamfilter.contaminants import TABLE
from streamfilter.records import ClassPrior, Rule, Statistic
from streamfilter.verdict import Policy

GENERIC: tuple[Rule, ...] = (
    Rule(name="cosmic-ray", contaminant="CR", statistic=Statistic.CORE, above=0.43),
)

RULES: dict[str, tuple[Rule, ...]] = {}


def policy(
    survey: str,
    *,
    priors: Mapping[str, float] | None = None,
    thresholds: Mapping[str, float] | None = None,
    rules: Sequence[Rule] | None = None,
) -> Policy:
    """What a survey's alerts are judged by: its defaults, or the generic ones, overridden.

    Parameters
    ----------
    priors, thresholds
        By class code; what is not named keeps its default.
    rules
        Replace all default rules of the survey.

    Raises
    ------
    ValueError
        A code is in no class table, a prior is out of range, a rule names no contaminant.
    """
    priors, thresholds = priors or {}, thresholds or {}
    if unknown := sorted({*priors, *thresholds} - {row.code for row in TABLE}):
        raise ValueError(f"no class {', '.join(unknown)}")
    return Policy(
        priors=tuple(
            ClassPrior(
                row.code,
                priors.get(row.code, row.prior),
                thresholds.get(row.code, row.threshold),
            )
            for row in TABLE
        ),
        rules=RULES.get(survey, GENERIC) if rules is None else tuple(rules),
    )
