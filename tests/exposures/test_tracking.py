"""Evidence to decisions."""

import pytest

from streamfilter.exposures import tracking
from streamfilter.exposures.records import (
    Decision,
    DetectorEvidence,
    FrameReason,
    Judgement,
    Shapes,
    TileEvidence,
    Voice,
)
from streamfilter.exposures.shapes import pool
from streamfilter.exposures.tracking import TrackingRules

RULES = TrackingRules()
ROUND = Shapes(40, 1.1, 10.0, 0.3, 3.0, 0.6)
TRAILED = Shapes(40, 2.0, 10.0, 0.95, 3.0, 2.6)


def tile(probability: float, stars: int = 30) -> TileEvidence:
    weight = tracking.tile_weight(stars, 1.0, 1.0, RULES)
    return TileEvidence(0, 0, probability, stars, 1.0, 1.0, weight)


def judge(*tiles: TileEvidence, shapes: Shapes | None = None) -> Judgement:
    return tracking.judge_detector(tiles, shapes or Shapes(0), RULES)


def detector(judgement: Judgement, name: str = "1") -> DetectorEvidence:
    return DetectorEvidence("test", 0, name, judgement)


def test_tiles_that_agree_decide() -> None:
    """Six tiles for a tracking error outweigh the prior of 0.05; six against leave no doubt."""
    failed, fine = judge(*[tile(0.999)] * 6), judge(*[tile(0.001)] * 6)
    assert (Decision.TRACKING_ERROR, Voice.NETWORK) == (failed.decision, failed.voice)
    assert 0.7 < (failed.probability or 0) < 0.8, "one frame in a hundred deceives it"
    assert 0.99 < (failed.network_probability or 0)
    assert (Decision.OK, Voice.NETWORK) == (fine.decision, fine.voice)


def test_tiles_with_too_few_stars_abstain() -> None:
    """They abstain for any output: without stars, the network flags most good tiles."""
    found = judge(*[tile(1.0, stars=2)] * 40)
    assert (Decision.CANNOT_TELL, Voice.NONE) == (found.decision, found.voice)
    assert (None, 0, 40) == (found.probability, found.tiles_used, found.tiles_abstained)


def test_the_reference_mean_counts_every_tile() -> None:
    """As in the MaxiTrack program, it is the mean of all posteriors, also of tiles that abstain."""
    assert judge(tile(1.0, stars=0), tile(0.0)).reference_mean == pytest.approx(0.5)


def test_one_doubtful_tile_does_not_move_many() -> None:
    """A single flagged tile among twelve is no tracking error."""
    assert Decision.OK == judge(tile(1.0), *[tile(0.01)] * 11).decision


def test_a_thousand_tiles_are_few_witnesses() -> None:
    """Tiles have common errors: their effective number is at most one over the correlation."""
    assert 1.0 == tracking.witnesses(1.0, RULES)
    assert 0.5 == tracking.witnesses(0.5, RULES)
    assert 1 / 0.3 == pytest.approx(tracking.witnesses(1e6, RULES), rel=1e-3)


def test_no_tile_is_surer_than_the_network_is_right() -> None:
    """Outputs of 0 and 1 are limited to the network's error rate."""
    assert tracking.log_odds(0.98, RULES) == pytest.approx(tracking.log_odds(1.0, RULES))
    assert -tracking.log_odds(1.0, RULES) == pytest.approx(tracking.log_odds(0.0, RULES))


def test_a_low_prior_asks_for_more() -> None:
    """The posterior follows the prior, the log-odds of the evidence do not."""
    tiles = [tile(0.9)] * 3
    low = tracking.judge_detector(tiles, Shapes(0), TrackingRules(prior=1e-4))
    high = tracking.judge_detector(tiles, Shapes(0), TrackingRules(prior=0.3))
    assert (low.log_odds, Decision.OK) == (high.log_odds, low.decision)
    assert Decision.TRACKING_ERROR == high.decision


@pytest.mark.parametrize(
    ("probability", "shapes", "decision", "voice"),
    [
        (0.999, TRAILED, Decision.TRACKING_ERROR, Voice.BOTH),
        (0.001, TRAILED, Decision.TRACKING_ERROR, Voice.SHAPES),
        (0.999, Shapes(40, 1.25, 10.0, 0.9, 3.0, 1.1), Decision.CANNOT_TELL, Voice.NONE),
        (0.999, ROUND, Decision.CANNOT_TELL, Voice.NONE),
        (0.001, ROUND, Decision.OK, Voice.BOTH),
        (0.001, Shapes(40, 1.45, 0.0, 0.7, 3.0, 1.5), Decision.OK, Voice.BOTH),
        (0.001, Shapes(40, 2.0, 0.0, 0.2, 3.0, 2.0), Decision.OK, Voice.BOTH),
        (0.001, Shapes(3, 2.0, 0.0, 1.0, 3.0, 2.0), Decision.OK, Voice.NETWORK),
    ],
)
def test_the_voice_that_spoke_is_named(
    probability: float, shapes: Shapes, decision: Decision, voice: Voice
) -> None:
    """Network or shapes may find a tracking error; incoherent or few shapes do not count."""
    found = judge(*[tile(probability)] * 6, shapes=shapes)
    assert (decision, voice) == (found.decision, found.voice)


@pytest.mark.parametrize(
    ("probability", "coherence", "decision"),
    [
        (0.001, 0.98, Decision.CANNOT_TELL),  # a trail of 1.5 FWHM, which the network misses
        (0.999, 0.98, Decision.CANNOT_TELL),
        (0.999, 0.2, Decision.CANNOT_TELL),  # galaxies, which the network takes for trails
        (0.001, 0.2, Decision.OK),
    ],
)
def test_the_network_does_not_speak_against_what_it_is_known_to_mistake(
    probability: float, coherence: float, decision: Decision
) -> None:
    """This holds for one detector, and for an exposure of several."""
    shapes = Shapes(40, 1.46, 10.0, coherence, 3.0, 1.5)
    alone = judge(*[tile(probability)] * 6, shapes=shapes)
    several = tracking.judge_exposure([detector(alone)] * 3, shapes, RULES)
    assert (decision, decision) == (alone.decision, several.decision)


@pytest.mark.parametrize(("probability", "voice"), [(0.999, Voice.BOTH), (0.001, Voice.SHAPES)])
def test_doubled_stars_are_a_tracking_error(probability: float, voice: Voice) -> None:
    """They are although the stars are round; for one detector, and for an exposure of several."""
    tiles = [tile(probability)] * 6
    alone = tracking.judge_detector(tiles, ROUND, RULES, doubled=True)
    several = tracking.judge_exposure([detector(alone)] * 3, ROUND, RULES)
    assert [(Decision.TRACKING_ERROR, voice)] * 2 == [
        (each.decision, each.voice) for each in (alone, several)
    ]


@pytest.mark.parametrize(
    ("probability", "shapes", "decision"),
    [
        (0.999, Shapes(0), Decision.CANNOT_TELL),
        (0.999, Shapes(2, 1.3, 0.0, 0.9, 30.0, 0.7), Decision.CANNOT_TELL),
        (0.001, Shapes(0), Decision.OK),
        (0.001, ROUND, Decision.OK),
        (0.999, Shapes(40, 1.3, 0.0, 0.9, 3.0, 1.0), Decision.CANNOT_TELL),
        (0.999, Shapes(40, 1.4, 0.0, 0.9, 3.0, 1.0), Decision.CANNOT_TELL),
        (0.001, Shapes(40, 1.4, 0.0, 0.9, 3.0, 1.0), Decision.OK),
        (0.999, TRAILED, Decision.TRACKING_ERROR),
    ],
)
def test_the_network_does_not_convict_alone_where_it_is_doubtful(
    probability: float, shapes: Shapes, decision: Decision
) -> None:
    """Stars cannot be measured, or pixels are not square; for one detector and for several."""
    alone = tracking.judge_detector([tile(probability)] * 6, shapes, RULES, doubtful=True)
    several = tracking.judge_exposure([detector(alone)] * 3, shapes, RULES)
    assert (decision, decision) == (alone.decision, several.decision)


def test_a_field_that_turned_a_little_is_what_its_detectors_say() -> None:
    """Stars are elongated in one direction on each detector, but not over all detectors."""
    shapes = Shapes(40, 1.6, 10.0, 0.95, 3.0, 1.8)
    alone = detector(judge(*[tile(0.999)] * 6, shapes=shapes))
    found = tracking.judge_exposure([alone] * 4, Shapes(160, 1.6, 0.0, 0.1, 3.0, 1.8), RULES)
    assert (Decision.TRACKING_ERROR, Voice.BOTH) == (found.decision, found.voice)


def test_shapes_speak_where_the_network_cannot() -> None:
    """There are enough stars for shapes, but too few on each tile for the network."""
    found = judge(*[tile(1.0, stars=1)] * 40, shapes=ROUND)
    assert (Decision.OK, Voice.SHAPES) == (found.decision, found.voice)


def test_one_detector_alone_is_its_exposure() -> None:
    """Pooling one detector changes nothing."""
    alone = judge(*[tile(0.8)] * 4, shapes=ROUND)
    assert alone == tracking.judge_exposure([detector(alone)], ROUND, RULES)


def test_detectors_pool_their_tiles() -> None:
    """The weighted mean over all tiles, whichever detector has them."""
    many, few = judge(*[tile(0.9)] * 6), judge(*[tile(0.2)] * 2)
    found = tracking.judge_exposure([detector(many), detector(few, "2")], Shapes(0), RULES)
    together = judge(*[tile(0.9)] * 6, *[tile(0.2)] * 2)
    assert together.probability == pytest.approx(found.probability)
    assert (8, 0) == (found.tiles_used, found.tiles_abstained)
    means = (many.reference_mean or 0) / 2 + (few.reference_mean or 0) / 2
    assert means == pytest.approx(found.reference_mean)


def test_a_field_that_turned_is_a_tracking_error() -> None:
    """Each detector trails in its own direction: the majority of votes decides."""
    trailing = detector(judge(*[tile(0.01)] * 4, shapes=TRAILED))
    incoherent = Shapes(160, 2.0, 0.0, 0.1, 3.0, 2.6)
    found = tracking.judge_exposure([trailing] * 4, incoherent, RULES)
    assert (Decision.TRACKING_ERROR, Voice.SHAPES) == (found.decision, found.voice)


@pytest.mark.parametrize(
    ("failed", "decision"),
    [(1, Decision.OK), (29, Decision.OK), (31, Decision.TRACKING_ERROR)],
)
def test_detectors_of_few_stars_have_a_vote(failed: int, decision: Decision) -> None:
    """A detector whose stars have companions does not outvote those the network calls well."""
    few = detector(judge(*[tile(0.001, stars=5)] * 6, shapes=Shapes(5, 1.1, 10.0, 0.3, 3.0, 0.6)))
    tiles = [tile(0.001)] * 6
    bad = detector(tracking.judge_detector(tiles, ROUND, RULES, doubled=True))
    every = [bad] * failed + [few] * (60 - failed)
    found = tracking.judge_exposure(every, pool([e.judgement.shapes for e in every]), RULES)
    assert (Decision.OK, Voice.NETWORK) == (few.judgement.decision, few.judgement.voice)
    assert decision == found.decision


def test_detectors_that_were_not_evaluated_do_not_count() -> None:
    """An exposure with no other detector cannot be judged."""
    empty = DetectorEvidence("test", 0, "1", tracking.without_evidence(RULES), FrameReason.NO_DATA)
    found = tracking.judge_exposure([empty], Shapes(0), RULES)
    assert (Decision.CANNOT_TELL, None) == (found.decision, found.reference_mean)


@pytest.mark.parametrize("prior", [1e-4, 0.05, 0.4])
@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("doubtful", [False, True])
def test_the_probability_says_what_the_decision_says(
    prior: float, doubled: bool, doubtful: bool
) -> None:
    """Whatever network and shapes say, for a detector and for an exposure of several."""
    rules = TrackingRules(prior=prior)
    every = [Shapes(0), Shapes(3, 2.0, 0.0, 1.0, 3.0, 2.0)]
    for fwhm in (1.7, 3.0):
        for elongation in (1.05, 1.2, 1.3, 1.4, 1.45, 1.5, 1.6, 2.0, 3.0):
            every += [Shapes(40, elongation, 0.0, c, fwhm, 1.0) for c in (0.1, 0.6, 0.97)]
    seen = set()
    for shapes in every:
        for raw in (0.0, 0.3, 0.9, 1.0):
            for count in (0, 1, 6):
                alone = tracking.judge_detector(
                    [tile(raw)] * count, shapes, rules, doubled=doubled, doubtful=doubtful
                )
                several = tracking.judge_exposure([detector(alone)] * 3, shapes, rules)
                for found in (alone, several):
                    known, failed = found.probability, found.decision is Decision.TRACKING_ERROR
                    assert failed == (known is not None and known >= rules.decided_at)
                    assert found.decision is not Decision.OK or known is not None
                    seen.add(found.decision)
    assert seen > {Decision.OK} or doubled or doubtful


def test_the_probability_rises_with_the_trail() -> None:
    """Also where it is near 0 or 1, so that it ranks exposures."""
    said = [
        judge(*[tile(0.3)] * 6, shapes=Shapes(40, elongation, 0.0, 0.97, 3.0, 1.0)).probability
        for elongation in (1.05, 1.2, 1.3, 1.35, 1.4, 1.45, 1.5, 1.6, 2.0, 3.0, 6.0)
    ]
    assert sorted(set(said), key=float) == said  # type: ignore[arg-type]


def test_coarse_pixels_let_shapes_speak_less() -> None:
    """Elongations of stars under about two pixels scatter more."""
    fine, coarse = (
        judge(shapes=Shapes(40, 3.0, 0.0, 1.0, fwhm, 4.0)).shape_log_odds for fwhm in (3.0, 1.7)
    )
    assert (fine or 0) > (coarse or 0) > 1


@pytest.mark.parametrize(
    "wrong", [{"prior": 0.0}, {"correlation": 2.0}, {"round": 3.0}, {"unsure_from": 0.6}]
)
def test_rules_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    """The error names the wrong value."""
    with pytest.raises(ValueError, match="must be"):
        TrackingRules(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("judged", "said"),
    [
        (
            tracking.without_evidence(RULES),
            ("no tile has 3 stars", "0 stars have a shape, 8 are needed"),
        ),
        (
            judge(*[tile(0.001)] * 12, shapes=Shapes(40, 1.49, 10.0, 0.95, 3.0, 1.0)),
            ("no trails, but it misses", "may trail or not (elongation 1.49, coherence 0.95)"),
        ),
    ],
)
def test_why_nothing_was_decided_is_said(judged: Judgement, said: tuple[str, ...]) -> None:
    """What the network lacked, and what the stars did."""
    why = tracking.why_undecided(judged, RULES)
    assert all(each in why for each in said), why


def test_contradiction_and_too_little_evidence_are_told_apart() -> None:
    """In words that lead to what to look at."""
    seen = judge(*[tile(0.999)] * 12, shapes=Shapes(40, 1.4, 10.0, 0.1, 3.0, 1.0))
    why = tracking.why_undecided(seen, RULES)
    assert "which the stars do not bear out; the stars do not trail" in why
    few = tracking.judge_detector([tile(0.3)], Shapes(2), RULES)
    assert "too little for the network: 1 tiles weigh" in tracking.why_undecided(few, RULES)
    assert "" == tracking.why_undecided(tracking.judge_detector([], ROUND, RULES), RULES)
