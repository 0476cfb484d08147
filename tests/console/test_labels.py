"""What people say: its bytes, what holds, and how it bears out the rules."""

from datetime import timedelta

import pytest
from card_factories import NOON, card

from streamfilter.console.labels import Answer, Book, Label, encode, from_record, label_of
from streamfilter.reading import read
from streamfilter.records import Action
from streamfilter.records import Label as Verdict
from streamfilter.schemas.published import label_schema, single_object_header


def said(
    number: int, answer: Answer | None, person: str = "ana", minute: int = 0, **changes: object
) -> Label:
    contaminant = "CR" if answer is Answer.ARTEFACT else None
    return label_of(card(number, **changes), person=person, answer=answer,
                    contaminant=contaminant, said=NOON + timedelta(minutes=minute))  # fmt: skip


@pytest.mark.parametrize("answer", [*Answer, None])
def test_a_label_is_read_as_it_was_written(answer: Answer | None) -> None:
    """By the reader that consumers have, without a registry."""
    label = said(1, answer)
    assert label.core is not None
    found = from_record(read(single_object_header(label_schema()) + encode(label)))
    assert found.core == pytest.approx(label.core)
    assert (label.person, label.said, label.answer) == (found.person, found.said, found.answer)
    assert (label.origin, label.rule, label.sha256) == (found.origin, found.rule, found.sha256)


@pytest.mark.parametrize(("answer", "contaminant"), [
    (Answer.ARTEFACT, None), (Answer.REAL, "CR"), (Answer.ARTEFACT, "BBG"),
    (Answer.ARTEFACT, "<b>"),
])  # fmt: skip
def test_an_artefact_has_a_class_and_nothing_else_has(
    answer: Answer, contaminant: str | None
) -> None:
    """Sources and sky are no artefacts."""
    with pytest.raises(ValueError, match=r"class|contaminant"):
        label_of(card(), person="a", answer=answer, contaminant=contaminant, said=NOON)


def test_the_newest_of_each_person_counts() -> None:
    """Two people are counted apart; who takes back has said nothing."""
    book = Book()
    for label in (
        said(1, Answer.WRONG, minute=2), said(1, Answer.RIGHT, minute=1),
        said(1, Answer.REAL, "ben"), said(2, Answer.RIGHT, "ben", 3),
    ):  # fmt: skip
        book.add(label)
    assert [Answer.WRONG, Answer.REAL] == [each.answer for each in book.of(card(1).origin)]
    assert [("ana", 1), ("ben", 2)] == list(book.persons())
    last = book.last_by("ben")
    assert last is not None
    assert "2" == last.alert_id
    book.add(last.taken_back(NOON + timedelta(minutes=4)))
    assert [] == book.of(card(2).origin)
    assert [("ana", 1), ("ben", 1)] == list(book.persons())


@pytest.mark.parametrize(("verdict", "answer", "agrees"), [
    (Verdict.CONTAMINATED, Answer.REAL, False), (Verdict.CONTAMINATED, Answer.ARTEFACT, True),
    (Verdict.CLEAN, Answer.REAL, True), (Verdict.CLEAN, Answer.ARTEFACT, False),
    (Verdict.SUSPECT, Answer.WRONG, False), (Verdict.SUSPECT, Answer.CANNOT_TELL, None),
    (Verdict.NOT_EVALUATED, Answer.REAL, None),
])  # fmt: skip
def test_an_answer_bears_a_verdict_out_or_not(
    verdict: Verdict, answer: Answer, agrees: bool | None
) -> None:
    """As the schema explains the answers."""
    assert agrees is said(1, answer, label=verdict).agrees


def test_a_rule_that_is_contradicted_too_often_is_named() -> None:
    """More than its own posteriors (here 0.98) leave room for; a slip of one is none."""
    book = Book()
    for number in range(40):
        book.add(said(number, Answer.RIGHT))
    book.add(said(40, Answer.REAL))
    (one,) = book.agreements()
    assert (40, 1, False) == (one.borne_out, one.contradicted, one.too_often)
    for number in range(41, 45):
        book.add(said(number, Answer.REAL))
    (five,) = book.agreements()
    assert (5, True) == (five.contradicted, five.too_often)
    assert five.expected == pytest.approx(45 * 0.02)


def test_what_is_no_drop_claims_nothing() -> None:
    """A flag leaves the alert in the stream."""
    book = Book()
    for number in range(10):
        book.add(said(number, Answer.REAL, label=Verdict.SUSPECT, action=Action.FLAG))
    (found,) = book.agreements()
    assert (10, None, False) == (found.contradicted, found.expected, found.too_often)
