"""Labelled alerts become a folder that the training reads."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
from card_factories import NOON, card

from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.surveys import Surveys
from streamfilter.console.labels import Answer, Label, label_of
from streamfilter.console.training_folder import Written, core_of, write_folder
from streamfilter.files import bundled_folder
from streamfilter.limits import Limits
from streamfilter.records import Message, Origin
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import FolderSource
from streamfilter.simulate.visits import SimulatedAlert, alerts
from training.data import Core, Planes, labels, packets

FINDER = SchemaFinder([FolderSource(bundled_folder("schemas") / "simulated")], Limits())
DECODER = Decoder(FINDER, Surveys.load(), Limits())


def place(number: int) -> Origin:
    return Origin("alerts", 0, number)


def said(
    number: int, alert: SimulatedAlert, answer: Answer, contaminant: str | None = None,
    person: str = "ana",
) -> Label:  # fmt: skip
    shown = replace(card(number), alert_id=alert.alert_id, origin=place(number))
    return label_of(shown, person=person, answer=answer, contaminant=contaminant, said=NOON)


def written(folder: Path, sent: list[SimulatedAlert], given: list[Label]) -> Written:
    """As a broker has them that has kept all."""

    def fetch(places: Collection[Origin]) -> dict[Origin, Message]:
        every = {place(n): Message(place(n), each.value) for n, each in enumerate(sent)}
        return {at: every[at] for at in places if at in every}

    return write_folder(given, fetch, FINDER, DECODER, folder)


def trained_on(folder: Path) -> dict[str, Planes]:
    known = labels(folder / "known.csv")
    return {each.alert_id: each for each in packets([folder / "packets"], known)}


def test_training_reads_what_was_written(tmp_path: Path) -> None:
    """ZTF's form and LSST's, whose schema is elsewhere; alerts of one visit are one exposure."""
    sent = list(alerts(1, 4, mix={}))
    answers = [(Answer.REAL, None), (Answer.ARTEFACT, "CR"), (Answer.ARTEFACT, "RES"),
               (Answer.CANNOT_TELL, None)]  # fmt: skip
    given = [said(n, a, *answers[n]) for n, a in enumerate(sent)]
    assert Written(4, ()) == written(tmp_path, sent, given)
    found = trained_on(tmp_path)
    assert [Core.REAL, Core.BOGUS, Core.DIPOLE, Core.UNKNOWN] == [
        found[each.alert_id].core for each in sent
    ]
    assert {"ztf", "lsst"} == {each.survey for each in found.values()}
    assert all(each.template is not None for each in found.values())
    assert 2 == len({each.exposure for each in found.values()}), "a visit of each survey"
    assert 4 == len((tmp_path / "labels.jsonl").read_text().splitlines())


def test_what_is_gone_is_named_and_left_out(tmp_path: Path) -> None:
    """Retention may have it, or another alert stands there since the topic was made anew."""
    first, second = alerts(1, 2, mix={})
    given = [said(0, second, Answer.REAL), said(9, first, Answer.REAL)]
    found = written(tmp_path, [first], given)
    assert 0 == found.packets
    assert ["another alert stands at its place now", "no longer in its topic"] == [
        line.split(": ")[1] for line in found.missing
    ]


def test_a_hostile_topic_names_no_other_folder(tmp_path: Path) -> None:
    """Anybody may write to the topic of labels."""
    (alert,) = alerts(1, 1, mix={})
    far = replace(said(0, alert, Answer.REAL), origin=Origin("../../far", 0, 0))

    def fetch(places: Collection[Origin]) -> dict[Origin, Message]:
        return {at: Message(at, alert.value) for at in places}

    assert 1 == write_folder([far], fetch, FINDER, DECODER, tmp_path / "here").packets
    assert [".._.._far-0-0.avro"] == [p.name for p in (tmp_path / "here" / "packets").iterdir()]


@pytest.mark.parametrize(("answers", "core"), [
    ([Answer.REAL, Answer.REAL], "real"), ([Answer.REAL, Answer.WRONG], "real"),
    ([Answer.REAL, Answer.RIGHT], ""), ([Answer.CANNOT_TELL, Answer.REAL], ""),
])  # fmt: skip
def test_where_people_differ_nothing_is_known(answers: list[Answer], core: str) -> None:
    """The shown verdict was contaminated: who calls it wrong means real."""
    (alert,) = alerts(1, 1, mix={})
    assert core == core_of(said(0, alert, each) for each in answers)
