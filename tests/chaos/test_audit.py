"""The audit itself must fail where something is missing or comes twice."""

from collections import Counter
from pathlib import Path

import pytest
from audit import (
    DAMAGED,
    JUDGED,
    UNREAD,
    Account,
    Answer,
    Due,
    account,
    faults_found,
    seconds_to_recover,
)
from report import Outcome, write

DUE = {b"good": JUDGED, b"bad": DAMAGED}
Found = dict[str, Counter[bytes | None]]


def complete() -> Found:
    """Each alert once in all that is due to it."""
    good: Counter[bytes | None] = Counter([b"good"])
    bad: Counter[bytes | None] = Counter([b"bad"])
    return {
        "annotations": good.copy(), "enriched": good.copy(), "clean": good.copy(),
        "contaminated": Counter(), "rejected": bad,
    }  # fmt: skip


def test_a_complete_stream_passes() -> None:
    """Nothing missing, nothing twice, nothing strange."""
    seen = account(DUE, complete())
    assert [] == faults_found(seen, most_repeated=0)
    assert (2, 1, 0) == (seen.alerts, seen.copies["enriched"], seen.copies["contaminated"])


@pytest.mark.parametrize("output", ["annotations", "enriched", "clean", "rejected"])
def test_a_missing_output_fails(output: str) -> None:
    """Of whichever output, however many duplicates are allowed."""
    found = complete()
    found[output].clear()
    (wrong,) = faults_found(account(DUE, found), most_repeated=99)
    assert wrong.startswith("1 missing: ")


@pytest.mark.parametrize("output", ["annotations", "enriched", "clean", "rejected"])
def test_a_second_copy_fails(output: str) -> None:
    """A copy more in any output counts, once for each alert, and passes only where allowed."""
    found = complete()
    found[output] += found[output]
    seen = account(DUE, found)
    assert ["1 twice, at most 0 allowed: " + seen.repeated[0].decode()] == faults_found(
        seen, most_repeated=0
    )
    assert [] == faults_found(seen, most_repeated=1)


def test_both_routes_are_one_too_many() -> None:
    """An alert that stands under clean and under contaminated was published twice."""
    found = complete()
    found["contaminated"][b"good"] += 1
    assert (b"good",) == account(DUE, found).repeated


@pytest.mark.parametrize(("output", "key"), [("rejected", b"good"), ("annotations", b"bad")])
def test_an_output_that_is_not_due_fails(output: str, key: bytes) -> None:
    """A good alert is not rejected, a damaged one not annotated."""
    found = complete()
    found[output][key] += 1
    assert (key,) == account(DUE, found).strange


def test_what_is_excused_passes() -> None:
    """An alert that was rejected while a registry was away, and sent in again."""
    found = complete()
    found["rejected"][b"good"] += 1
    assert () == account(DUE, found, {b"good": frozenset({"rejected"})}).strange


@pytest.mark.parametrize("key", [b"other", None])
def test_a_key_that_was_never_sent_fails(key: bytes | None) -> None:
    """Nor may anything come out of nothing."""
    found = complete()
    found["annotations"][key] += 1
    assert 1 == len(account(DUE, found).strange)


@pytest.mark.parametrize("due", [{}, {b"good": UNREAD, b"bad": UNREAD}])
def test_an_audit_of_nothing_is_refused(due: dict[bytes, Due]) -> None:
    """It would pass whatever happened."""
    with pytest.raises(ValueError, match="nothing to audit"):
        account(due, complete())


def test_what_was_never_read_is_not_missing_and_has_no_answer() -> None:
    """Retention took it, or an operator stepped over it."""
    due = {**DUE, b"unread": UNREAD}
    assert [] == faults_found(account(due, complete()), most_repeated=0)
    found = complete()
    found["annotations"][b"unread"] += 1
    assert (b"unread",) == account(due, found).strange


def test_recovery_is_when_every_partition_answers_again() -> None:
    """What was appended before the fault does not count, though it arrived after it."""
    partitions = {b"a": 0, b"b": 0, b"c": 1}
    answers = [Answer(b"a", 9.9, 10.5), Answer(b"b", 12.0, 12.5), Answer(b"c", 13.0, 13.5)]
    assert 3.5 == seconds_to_recover(10.0, answers, partitions)
    assert seconds_to_recover(20.0, answers, partitions) is None


def test_an_account_of_the_empty_stream_is_no_success() -> None:
    """All that was sent is missing when nothing came out."""
    seen = account(DUE, {})
    assert {b"good", b"bad"} == set(seen.missing)
    assert isinstance(seen, Account)


def test_a_report_keeps_what_was_not_run_again(tmp_path: Path) -> None:
    """Rows stand in the scenarios' order; a later run replaces its own."""
    path, faults = tmp_path / "report.md", {"one": "f", "two": "f"}
    for name, count in (("two", 1), ("one", 2), ("two", 3)):
        outcome = Outcome(scenario=name, guarantee="g", count=count, remarks=("a|b",))
        write(path, outcome, faults)
    rows = [line for line in path.read_text().splitlines() if line.startswith(("| one", "| two"))]
    assert ["| one | g | 0 | 2 ", "| two | g | 0 | 3 "] == [row[:18] for row in rows]
