"""Probabilities per pixel become evidence per stamp, and evidence a verdict."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamfilter.alerts.placement import Placement
from streamfilter.alerts.verdict import Policy, decide, heard, summarise
from streamfilter.contaminants import BY_CODE
from streamfilter.inference.manifest import OutputClass, load
from streamfilter.posterior import raw_threshold, update
from streamfilter.records import (
    Action,
    ClassEvidence,
    ClassPrior,
    Condition,
    Doubt,
    FieldKind,
    FieldValue,
    Label,
    NotEvaluated,
    Place,
    Plane,
    Rule,
    StampEvidence,
    Statistic,
    Verdict,
    fields_of,
)

MAXIMASK = load("maximask")
CODES = MAXIMASK.codes
CR, TRL = (CODES.index(code) for code in ("CR", "TRL"))
ROWS = [BY_CODE[code] for code in CODES]
POLICY = Policy(
    classes=MAXIMASK.classes,
    priors=tuple(ClassPrior(row.code, row.prior, row.threshold) for row in ROWS),
    rules=(),
)
SQUARE = Placement(17, 17, 30, 30)
DROP_CR = Rule(name="cosmic-ray", contaminant="CR", statistic=Statistic.CORE, above=0.43)
FLAG_TRL = Rule(
    name="trail",
    contaminant="TRL",
    statistic=Statistic.PIXELS,
    above=30,
    label=Label.SUSPECT,
    action=Action.FLAG,
)


def blank(n: int = 1, side: int = 64) -> npt.NDArray[np.float32]:
    return np.full((n, len(CODES), side, side), 1e-6, np.float32)


def evidence(raw: npt.NDArray[np.float32], place: Placement = SQUARE) -> list[ClassEvidence]:
    found = summarise(raw, [place], [POLICY])[0]
    assert CODES == tuple(found)
    return list(found.values())


def stamp(plane: Plane = Plane.SCIENCE, /, **values: float) -> StampEvidence:
    """Evidence with a class's core (CR=), peak (CR_peak=) or pixels (CR_px=) as given."""
    return StampEvidence(
        plane,
        None,
        classes={
            code: ClassEvidence(
                core_raw=0.0,
                core=values.get(code, 0.0),
                peak=values.get(f"{code}_peak", 0.0),
                pixels=int(values.get(f"{code}_px", 0)),
                distance_px=None,
            )
            for code in CODES
        },
    )


def test_a_hit_at_the_alert_is_core_and_peak() -> None:
    """One certain pixel at the centre gives probability, extent and distance."""
    raw = blank()
    raw[0, CR, 32, 32] = 0.99
    found = evidence(raw)[CR]
    posterior = float(update(np.float32(0.99), 0.010, 5e-4))
    assert (
        ClassEvidence(float(np.float32(0.99)), posterior, posterior, 1, np.hypot(0.5, 0.5)) == found
    )


def test_a_hit_away_from_the_alert_is_peak_only() -> None:
    """The core is within 2 px, this is at 2.12; the distance says how far the hit is."""
    raw = blank()
    raw[0, CR, 33, 33] = 0.999
    found = evidence(raw)[CR]
    assert found.core < 0.001 < 0.9 < found.peak
    assert np.hypot(1.5, 1.5) == found.distance_px


def test_the_core_is_at_the_alert_s_place() -> None:
    """Near a corner of the chip the place is not the middle of the stamp."""
    raw = blank()
    raw[0, CR, 17 + 20, 17 + 21] = 0.999
    place = replace(SQUARE, place=Place((20.0,), (20.0,)))
    assert evidence(raw)[CR].core < 0.001 < 0.9 < evidence(raw, place)[CR].core
    assert 1.0 == evidence(raw, place)[CR].distance_px


def test_the_reflected_margin_does_not_count() -> None:
    """What the network sees twice is judged once, where it is real."""
    raw = blank()
    raw[0, TRL, :17] = raw[0, TRL, 47:] = 1.0
    found = evidence(raw)[TRL]
    assert (0, None) == (found.pixels, found.distance_px)
    assert found.peak < 1e-5


def test_filled_pixels_do_not_count() -> None:
    """The network's output for pixels without data is no evidence."""
    raw, filled = blank(), np.zeros((30, 30), np.bool_)
    raw[0, CR, 17:20, 17:47] = 1.0
    filled[:3] = True
    assert 0 == evidence(raw, replace(SQUARE, filled=filled))[CR].pixels
    assert 90 == evidence(raw)[CR].pixels


def test_pixels_at_the_threshold_are_not_above_it() -> None:
    """The mask is P' > T, strictly, in the precision of the network's output."""
    raw = blank()
    exact = float(raw_threshold(0.43, 0.010, 5e-4))
    below = np.float32(exact)
    if float(below) > exact:
        below = np.nextafter(below, np.float32(0))
    raw[0, CR, 30, 20] = below
    raw[0, CR, 30, 21] = np.nextafter(below, np.float32(1))
    assert 1 == evidence(raw)[CR].pixels


def test_statistics_equal_those_of_updating_every_pixel() -> None:
    """The fast path on raw outputs against the plain one, for random stamps and priors."""
    random = np.random.default_rng(7)
    raw = random.random((4, len(CODES), 64, 64), np.float32) ** 3
    places = [Placement(1, 1, 62, 62), SQUARE, Placement(8, 0, 48, 63), Placement(0, 0, 64, 64)]
    for output, place, found in zip(raw, places, summarise(raw, places, [POLICY] * 4), strict=True):
        rows = slice(place.top, place.top + place.height)
        columns = slice(place.left, place.left + place.width)
        for k, (row, trained) in enumerate(zip(ROWS, MAXIMASK.classes, strict=True)):
            plain = update(output[k, rows, columns], trained.training_prior, row.prior)
            assert float(plain.max()) == found[row.code].peak
            assert np.count_nonzero(plain > row.threshold) == found[row.code].pixels


def test_a_stamp_is_judged_by_its_own_policy() -> None:
    """A batch may hold stamps of several surveys."""
    raw = blank(2)
    raw[:, CR, 32, 32] = 0.5
    priors = (replace(POLICY.priors[0], prior=0.5), *POLICY.priors[1:])
    bold = replace(POLICY, priors=priors)
    shy_core, bold_core = (e["CR"].core for e in summarise(raw, [SQUARE] * 2, [POLICY, bold]))
    assert shy_core < 0.05 < 0.98 < bold_core


def test_a_stamp_is_judged_alike_alone_and_in_a_batch() -> None:
    """Stamps of one window are looked at together; each keeps its own holes, place and policy."""
    random = np.random.default_rng(3)
    raw = random.random((6, len(CODES), 64, 64), np.float32) ** 9
    raw[4] = 0.0
    holed = replace(SQUARE, filled=random.random((30, 30)) < 0.3)
    aside = replace(SQUARE, place=Place((20.0,), (3.0,)))
    places = [SQUARE, holed, Placement(0, 0, 64, 64), SQUARE, SQUARE, aside]
    bold = replace(POLICY, priors=(replace(POLICY.priors[0], prior=0.5), *POLICY.priors[1:]))
    policies = [POLICY, POLICY, POLICY, bold, POLICY, POLICY]
    alone = [
        summarise(raw[n : n + 1], [place], [policy])[0]
        for n, (place, policy) in enumerate(zip(places, policies, strict=True))
    ]
    assert alone == summarise(raw, places, policies)
    assert len({each["CR"] for each in alone}) == len(alone)


@pytest.mark.parametrize(("side", "trained"), [(32, 0.3), (64, 0.02), (96, 0.02)])
def test_a_stamp_is_judged_under_the_priors_of_its_side(side: int, trained: float) -> None:
    """What the network was shown more often at a side it says there more readily."""
    row = OutputClass(code="CR", training_prior=0.1, training_priors=((32, 0.3), (64, 0.02)))
    policy = Policy(classes=(row,), priors=(ClassPrior("CR", 0.01, 0.2),), rules=())
    random = np.random.default_rng(4)
    raw = random.random((1, 1, side, side), np.float32)
    (found,) = summarise(raw, [Placement(1, 1, side - 2, side - 2)], [policy])
    plain = update(raw[0, 0, 1:-1, 1:-1], trained, 0.01)
    assert float(plain.max()) == found["CR"].peak
    assert 0 < np.count_nonzero(plain > 0.2) == found["CR"].pixels < plain.size


def test_a_rule_that_speaks_names_itself_and_its_class() -> None:
    """The verdict can be traced to the rule in the configuration."""
    expected = Verdict(Label.CONTAMINATED, Action.DROP, "CR", "cosmic-ray")
    assert expected == decide([stamp(CR=0.5)], [DROP_CR])


def test_no_rule_no_contamination() -> None:
    """A rule does not apply to a value equal to its limit."""
    assert Verdict(Label.CLEAN, Action.KEEP) == decide([stamp(CR=0.43)], [DROP_CR, FLAG_TRL])


def test_dropping_comes_before_flagging() -> None:
    """Whatever their order, a rule that drops decides first."""
    found = decide([stamp(CR=0.5, TRL_px=31)], [FLAG_TRL, DROP_CR])
    assert "cosmic-ray" == found.rule


def test_the_first_of_equal_rules_decides() -> None:
    """Within an action the configuration's order counts."""
    second = replace(DROP_CR, name="second")
    assert "second" == decide([stamp(CR=0.5)], [second, DROP_CR]).rule


@pytest.mark.parametrize(
    ("statistic", "key"),
    [(Statistic.CORE, "CR"), (Statistic.PEAK, "CR_peak"), (Statistic.PIXELS, "CR_px")],
)
def test_a_rule_looks_at_its_statistic(statistic: Statistic, key: str) -> None:
    """The other statistics do not matter."""
    rule = replace(DROP_CR, statistic=statistic, above=0.5)
    assert Label.CONTAMINATED is decide([stamp(**{key: 1.0})], [rule]).label
    others = {"CR", "CR_peak", "CR_px"} - {key}
    assert Label.CLEAN is decide([stamp(**dict.fromkeys(others, 1.0))], [rule]).label


def test_a_guarded_rule_is_silent_where_a_source_is() -> None:
    """The network's output for sources distinguishes a sharp star from a cosmic ray."""
    rule = replace(DROP_CR, unless_source_above=0.1)
    assert Label.CONTAMINATED is decide([stamp(CR=0.9, BBG=0.1)], [rule]).label
    assert Label.CLEAN is decide([stamp(CR=0.9, BBG=0.11)], [rule]).label


def test_a_rule_hears_only_its_own_plane() -> None:
    """A hit in the template is no reason to drop by the science image."""
    assert Label.CLEAN is decide([stamp(), stamp(Plane.TEMPLATE, CR=1.0)], [DROP_CR]).label


NAN = float("nan")


@pytest.mark.parametrize(
    ("condition", "holding", "failing"),
    [
        (Condition(above=0.5), [0.51, 1, True], [0.5, 0, False, -1]),
        (Condition(at_least=3), [3, 3.0, 9], [2, True, -999.0]),
        (Condition(below=3), [2, -999.0, False], [3, 4.5]),
        (Condition(at_most=3), [3, 0], [3.01]),
        (Condition(at_least=0, below=3), [0, 2.9], [-999.0, 3]),
        (Condition(equals=True), [True, 1], [False, 0, 2]),
        (Condition(equals=0), [0, False, 0.0], [1, True]),
        (Condition(equals="t"), ["t"], ["f", "T", "", 1, True]),
        (Condition(above=0, equals=2), [2], [1, 3]),
    ],
)
def test_a_condition_holds_where_all_its_comparisons_do(
    condition: Condition, holding: list[FieldValue], failing: list[FieldValue]
) -> None:
    """Of none it holds, nor of what is no number, nor of what cannot be compared."""
    assert [] == [value for value in holding if not condition.holds(value)]
    assert [] == [value for value in (*failing, None, NAN, "x") if condition.holds(value)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "nothing is compared; give above, at_least, below, at_most or equals"),
        ({"above": 1.0, "equals": "x"}, "a text has no order"),
        ({"above": NAN}, "nan is no limit"),
        ({"equals": NAN}, "nan is no limit"),
    ],
)
def test_a_condition_that_says_nothing_is_refused(given: dict[str, FieldValue], words: str) -> None:
    """It would hold always, or never."""
    with pytest.raises(ValueError, match=words):
        Condition(**given)  # type: ignore[arg-type]


SCORED = replace(DROP_CR, when={"drb": Condition(below=0.5), "isdiffpos": Condition(equals="t")})
SPARED = replace(
    DROP_CR, unless={"ndethist": Condition(at_least=3), "drb": Condition(at_least=0.9)}
)


@pytest.mark.parametrize(
    ("rule", "fields", "applies"),
    [
        (SCORED, {"drb": 0.1, "isdiffpos": "t"}, True),
        (SCORED, {"drb": 0.9, "isdiffpos": "t"}, False),
        (SCORED, {"drb": 0.1, "isdiffpos": "f"}, False),
        (SCORED, {"drb": 0.1}, False),
        (SCORED, {}, False),
        (SPARED, {"ndethist": 2, "drb": 0.1}, True),
        (SPARED, {"ndethist": 3, "drb": 0.1}, False),
        (SPARED, {"ndethist": 1, "drb": 0.9}, False),
        (SPARED, {"drb": 0.9}, False),
        (SPARED, {"drb": 0.1}, True),
        (SPARED, {}, True),
    ],
)
def test_a_rule_looks_at_the_alert_s_own_numbers(
    rule: Rule, fields: Mapping[str, FieldValue], applies: bool
) -> None:
    """All of ``when`` must hold and none of ``unless``; a field without a value holds nothing."""
    expected = Label.CONTAMINATED if applies else Label.CLEAN
    assert expected is decide([stamp(CR=0.9)], [rule], fields).label
    assert Label.CLEAN is decide([stamp(CR=0.1)], [rule], fields).label


def test_where_a_condition_fails_the_next_rule_decides() -> None:
    """As where its class is not there."""
    flags = replace(FLAG_TRL, name="next")
    found = decide([stamp(CR=0.9, TRL_px=31)], [SCORED, flags], {"drb": 0.9, "isdiffpos": "t"})
    assert "next" == found.rule


OURS = load("stampmask")
THEIRS = replace(POLICY, engine="maximask")
BOTH = Policy(
    engine="stampmask",
    classes=OURS.classes,
    priors=tuple(
        ClassPrior(code, BY_CODE[code].prior, BY_CODE[code].threshold) for code in OURS.codes
    ),
    rules=(),
    also=(THEIRS,),
)


def bound(rule: Rule) -> Rule:
    (found,) = replace(BOTH, rules=(rule,)).rules
    return found


def asked(first: StampEvidence, **values: float) -> StampEvidence:
    """The evidence of stampmask with MaxiMask's cores beside it."""
    return heard(first, [stamp(**values)], THEIRS)


def test_a_rule_looks_at_the_first_engine_that_has_its_class() -> None:
    """Unless it names another."""
    names = {
        "CR": "", "RES": "", "FR": "maximask",
    }  # fmt: skip
    found = {code: bound(replace(DROP_CR, contaminant=code)).engine for code in names}
    assert names == found
    assert "maximask" == bound(replace(DROP_CR, engine="maximask")).engine
    assert "" == bound(replace(DROP_CR, engine="stampmask")).engine


def test_a_rule_is_silent_where_its_engine_was_not_asked() -> None:
    """Then the first engine's verdict stands."""
    rule = bound(replace(DROP_CR, engine="maximask"))
    assert Label.CLEAN is decide([stamp(CR=0.9)], [rule]).label
    assert Label.CLEAN is decide([asked(stamp(CR=0.9), CR=0.1)], [rule]).label
    assert Label.CONTAMINATED is decide([asked(stamp(CR=0.1), CR=0.9)], [rule]).label


def test_a_guard_is_the_same_engine_s() -> None:
    """What one engine takes for a source does not silence the other."""
    rule = bound(replace(DROP_CR, engine="maximask", unless_source_above=0.5))
    assert Label.CONTAMINATED is decide([asked(stamp(BBG=0.9), CR=0.9)], [rule]).label
    assert Label.CLEAN is decide([asked(stamp(), CR=0.9, BBG=0.9)], [rule]).label


def test_two_voices_add_their_log_odds() -> None:
    """Two that are half sure of what is rare are surer together; one alone is itself."""
    prior = BY_CODE["CR"].prior
    rule = bound(replace(DROP_CR, statistic=Statistic.TOGETHER, above=0.9))
    found = asked(stamp(CR=0.3), CR=0.4)
    odds = 0.3 / 0.7 * 0.4 / 0.6 / (prior / (1 - prior))
    assert odds / (1 + odds) == pytest.approx(found.together["CR"])
    assert Label.CONTAMINATED is decide([found], [rule]).label
    assert Label.CLEAN is decide([asked(stamp(CR=0.95), CR=1e-6)], [rule]).label
    assert Label.CONTAMINATED is decide([stamp(CR=0.95)], [rule]).label
    assert Label.CLEAN is decide([stamp(CR=0.3)], [rule]).label


def test_together_needs_no_voice_of_the_first() -> None:
    """Of a class that only the second has its own number counts, and none where it is not asked."""
    first = replace(stamp(), classes={c: e for c, e in stamp().classes.items() if c != "FR"})
    rule = bound(replace(DROP_CR, contaminant="FR", statistic=Statistic.TOGETHER))
    assert Label.CONTAMINATED is decide([asked(first, FR=0.5)], [rule]).label
    assert Label.CLEAN is decide([first], [rule]).label


def test_a_source_that_any_engine_finds_guards_what_they_say_together() -> None:
    """A real transient that is dropped is lost."""
    rule = replace(DROP_CR, statistic=Statistic.TOGETHER, unless_source_above=0.5)
    for first, second in ((0.9, 0.1), (0.1, 0.9), (0.1, 0.1)):
        found = decide([asked(stamp(CR=0.9, BBG=first), CR=0.9, BBG=second)], [bound(rule)])
        assert (max(first, second) > 0.5) == (found.label is Label.CLEAN)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"engine": "abacus"}, "has engine 'abacus'; there are stampmask, maximask"),
        ({"engine": "stampmask", "contaminant": "FR"}, "'FR', .* of this engine; they are CR, TRL"),
        ({"contaminant": "XX"}, "'XX', .* of these engines; they are CR, .*, RES, P, FR"),
        ({"engine": "maximask", "statistic": Statistic.TOGETHER}, "leave engine = 'maximask' out"),
    ],
)
def test_an_engine_that_a_rule_cannot_look_at_is_refused(
    changes: dict[str, Any], named: str
) -> None:
    """With those that there are."""
    with pytest.raises(ValueError, match=named):
        bound(replace(DROP_CR, **changes))


@pytest.mark.parametrize(
    "limits",
    [{}, {"classes": ("CR",)}, {"above": 0.5, "below": 0.5}, {"above": 1.0}, {"below": 0.0}],
)
def test_doubt_is_a_range(limits: dict[str, Any]) -> None:
    """One that holds everything or nothing is refused."""
    with pytest.raises(ValueError, match=r"no limit is given|no probability lies between"):
        Doubt(**limits)


def test_limits_of_doubt_are_outside_it() -> None:
    """Either may be left out."""
    values = (0.0, 0.1, 0.5, 0.9, 1.0)
    expected = {
        Doubt(above=0.1): (0.5, 0.9, 1.0),
        Doubt(below=0.9): (0.0, 0.1, 0.5),
        Doubt(above=0.1, below=0.9): (0.5,),
    }
    for doubt, held in expected.items():
        assert held == tuple(value for value in values if doubt.holds(value))


def test_rules_name_the_fields_that_they_look_at() -> None:
    """Each once, with what it is compared with; one cannot be a number and a text."""
    kinds = {"drb": FieldKind.NUMBER, "isdiffpos": FieldKind.TEXT, "ndethist": FieldKind.NUMBER}
    assert kinds == fields_of([DROP_CR, SCORED, SPARED])
    odd = replace(DROP_CR, name="odd", unless={"drb": Condition(equals="high")})
    with pytest.raises(ValueError, match=r"'odd': drb is compared with a text, and .* a number"):
        fields_of([SCORED, odd])


def test_what_was_not_evaluated_is_kept_and_says_so() -> None:
    """This includes a plane that is evaluated but that no rule is for."""
    missing = StampEvidence(Plane.SCIENCE, NotEvaluated.STAMP_MISSING)
    hit = stamp(Plane.TEMPLATE, CR=1.0)
    for evidence, rules in (([missing], [DROP_CR]), ([missing, hit], [DROP_CR]), ([stamp()], [])):
        assert Verdict(Label.NOT_EVALUATED, Action.KEEP) == decide(evidence, rules)
    both = [DROP_CR, replace(FLAG_TRL, plane=Plane.TEMPLATE)]
    assert Label.CLEAN is decide([missing, hit], both).label


@pytest.mark.parametrize("code", ["BBG", "BG", "XX"])
def test_what_is_normal_cannot_contaminate(code: str) -> None:
    """A rule on sources, on sky or on nothing is refused."""
    with pytest.raises(ValueError, match="no contaminant"):
        replace(POLICY, rules=(replace(DROP_CR, contaminant=code),))


def test_a_prior_of_every_class_is_needed() -> None:
    """The order is the engine's, so that no class is taken for another."""
    with pytest.raises(ValueError, match="one per class"):
        replace(POLICY, priors=POLICY.priors[::-1])


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_a_prior_of_certainty_is_refused(prior: float) -> None:
    """No evidence could move it."""
    with pytest.raises(ValueError, match="CR"):
        replace(POLICY, priors=(ClassPrior("CR", prior, 0.5), *POLICY.priors[1:]))


def test_a_guard_by_sources_needs_an_engine_that_finds_them() -> None:
    """Else it would guard nothing."""
    alone = replace(POLICY, classes=MAXIMASK.classes[:1], priors=POLICY.priors[:1])
    assert replace(alone, rules=(DROP_CR,)).rules
    with pytest.raises(ValueError, match="does not find sources"):
        replace(alone, rules=(replace(DROP_CR, unless_source_above=0.5),))


def test_an_engine_with_other_classes_in_another_order_gives_its_own() -> None:
    """Outputs are taken by the engine's order, and prior and threshold with them."""
    classes = tuple(OutputClass(code=code, training_prior=0.1) for code in ("RES", "BBG", "CR"))
    priors = tuple(ClassPrior(row.code, 0.01, 0.5) for row in classes)
    policy = Policy(classes=classes, priors=priors, rules=())
    raw = np.full((1, 3, 64, 64), 1e-6, np.float32)
    raw[0, 0, 32, 32] = 0.99
    (found,) = summarise(raw, [SQUARE], [policy])
    assert ["RES", "BBG", "CR"] == list(found)
    assert [1, 0, 0] == [each.pixels for each in found.values()]
    assert float(update(np.float32(0.99), 0.1, 0.01)) == found["RES"].core
