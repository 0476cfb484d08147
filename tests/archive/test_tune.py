"""``streamfilter tune`` on made annotations whose answer is known, and on real ones."""

import csv
import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import bench_tune
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from streamfilter.alerts.rules import RULES, policy
from streamfilter.archive.label_files import read_labels
from streamfilter.archive.labelled import read_labelled
from streamfilter.archive.outputs import TaskOutput
from streamfilter.cli import root
from streamfilter.config import load
from streamfilter.errors import ConfigurationInvalid
from streamfilter.inference.manifest import load as manifest
from streamfilter.library.columns import Column
from streamfilter.library.tables import DETAIL, Layout
from streamfilter.records import Condition, Plane, Rule

MAXIMASK = manifest("maximask")
ZTF = RULES["ztf"]
REAL, HITS = 300, 40


def row(number: int, cr: float, source: float = 0.01, **changes: Any) -> dict[str, Any]:
    """An alert whose stamp has a cosmic ray and a source as likely as that, and nothing else."""
    core = [{"CR": cr, "BBG": source}.get(code, 1e-4) for code in MAXIMASK.codes]
    detail = dict.fromkeys(DETAIL[1:], core) | {
        "pixels": [0] * len(core), "distance_px": [None] * len(core), "class": MAXIMASK.codes,
    }  # fmt: skip
    drop = (cr > 0.3 and source <= 0.05) or (cr > 0.85 and source <= 0.5)
    return {
        "survey": "ztf", "alert_id": str(number), "object_id": f"ZTF{number}",
        "night": "2023-10-12", "verdict": "contaminated" if drop else "clean",
        "action": "drop" if drop else "keep",
        "agreement": "agree", "source": "x", "index": number, "science": detail, **changes,
    }  # fmt: skip


def spread(count: int, low: float, high: float) -> list[float]:
    return [float(each) for each in np.linspace(low, high, count)]


ROWS = [
    *(row(n, cr) for n, cr in enumerate(spread(REAL, 0.0, 0.2))),
    *(row(1000 + n, cr) for n, cr in enumerate(spread(HITS, 0.21, 0.99))),
    row(5000, 0.9),  # of which nobody says anything
    row(5001, 0.0, science=None),
]


def written(
    folder: Path, rows: Iterable[dict[str, Any]] = ROWS, rules: Sequence[Rule] = ZTF, *columns: str
) -> Path:
    """An output as ``annotate`` writes it."""
    its = policy("ztf", MAXIMASK, rules=rules)
    numbers = {
        "priors": {each.code: each.prior for each in its.priors},
        "thresholds": {each.code: each.threshold for each in its.priors},
        "rules": [asdict(each) for each in rules],
    }
    layout = Layout(
        planes=(Plane.SCIENCE,), codes=MAXIMASK.codes, nights={},
        columns=tuple(map(Column.named, columns)),
        judged_by={"engine": {"name": "maximask"}, "surveys": {"ztf": numbers}},
    )  # fmt: skip
    output = TaskOutput(folder / "out", "0" * 16, layout.schema)
    output.add(pa.RecordBatch.from_pylist(list(rows), layout.schema))
    output.finish()
    return folder / "out"


def labelled(path: Path, labels: Iterable[tuple[object, ...]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("alert_id", "label"), *labels])
    return path


def truth() -> list[tuple[object, ...]]:
    return [*((n, "real") for n in range(REAL)), *((1000 + n, "artefact") for n in range(HITS))]


def tune(*arguments: str | Path) -> Result:
    return CliRunner().invoke(root, ["tune", *map(str, arguments)])


def limits(found: Result) -> dict[str, float]:
    """Limits of rules that drop, by their names."""
    (survey,) = tomllib.loads(found.stdout)["surveys"].values()
    return {rule["name"]: rule["above"] for rule in survey["rules"] if rule["action"] == "drop"}


def test_limits_part_what_the_labels_part(tmp_path: Path) -> None:
    """Real alerts reach .2, and every artefact above is found, also where the fold has not it."""
    labels = labelled(tmp_path / "labels.csv", truth())
    found = tune(written(tmp_path), "--labels", labels, "--lose-at-most", "0.02")
    assert found.exit_code == 0, found.output
    assert 0.2 <= limits(found)["cosmic-ray"] < 0.21
    assert "labelled: 300 real, 40 artefacts" in found.stdout
    measured, before = found.stdout.split("the limits before")
    lost, whole, complete = re.findall(r"(\d+) of (\d+), [\d.]+ % \([\d.]+ to [\d.]+\)", measured)
    assert ("300", True) == (lost[1], int(lost[0]) <= 1)
    assert ("40", True) == (whole[1], int(whole[0]) >= 38)
    assert whole[0] == complete[0]
    assert "lost: 0 of 300, 0 % (0 to 1.26); at most 0.994 % at 95 %" in before
    assert "dropped: 35 of 40" in before


def test_what_is_printed_is_a_configuration(tmp_path: Path) -> None:
    """Our own reader takes it, ``config check`` accepts it, and it judges by these limits."""
    labels, site = labelled(tmp_path / "labels.csv", truth()), tmp_path / "tuned.toml"
    found = tune(written(tmp_path), "--labels", labels, "--lose-at-most", "0.02")
    site.write_text(found.stdout)
    survey = load(site).surveys["ztf"]
    assert survey.rules is not None
    dropping = {each.name: each.above for each in survey.rules if each.action == "drop"}
    assert limits(found) == dropping
    assert [each.name for each in ZTF] == [each.name for each in survey.rules]
    assert {each.code: each.prior for each in policy("ztf", MAXIMASK).priors} == survey.priors
    checked = CliRunner().invoke(root, ["config", "check", "--config", str(site)])
    assert (0, True) == (checked.exit_code, checked.output.startswith("well-formed"))


def test_labels_that_do_not_bear_it_out_are_refused(tmp_path: Path) -> None:
    """With how many would; nothing is printed that could be pasted."""
    labels = labelled(tmp_path / "labels.csv", truth())
    found = tune(written(tmp_path), "--labels", labels, "--lose-at-most", "0.005")
    assert "300 real alerts are labelled" in str(found.exception)
    assert "598 are enough where none is lost" in str(found.exception)
    assert "" == found.stdout


def test_the_share_in_the_stream_is_told(tmp_path: Path) -> None:
    """Of all alerts, also those that nobody labelled; without artefacts it is not known."""
    rows = [*ROWS, *(row(6000 + n, 0.01) for n in range(600))]
    labels = labelled(tmp_path / "labels.csv", truth())
    arguments = (written(tmp_path, rows), "--lose-at-most", "0.02", "--stream-share", "--labels")
    found = tune(*arguments, labels)
    told = re.search(r"stream: of 942 alerts ([\d.]+) % \(([\d.]+) to ([\d.]+)\)", found.stdout)
    assert told is not None, found.output
    share, low, high = map(float, told.groups())
    assert share == pytest.approx(100 * 41 / 942, rel=0.2)
    assert low < 100 * 41 / 942 < high
    few = tune(*arguments, labelled(tmp_path / "real.csv", truth()[:REAL]))
    assert "stream: no artefact is labelled" in few.stdout


def test_a_rule_that_no_limit_makes_safe_flags(tmp_path: Path) -> None:
    """A real alert is as sure a cosmic ray as can be."""
    rows = [*ROWS, *(row(2000 + n, 1.0) for n in range(3))]
    labels = labelled(tmp_path / "labels.csv", [*truth(), *((2000 + n, 1) for n in range(3))])
    found = tune(written(tmp_path, rows), "--labels", labels, "--lose-at-most", "0.012")
    assert found.exit_code == 0, found.exception
    assert {"cosmic-ray", "cosmic-ray-sure"}.isdisjoint(limits(found))
    assert "cosmic-ray: CR core no limit is safe: flags only (before: 0.3)" in found.stdout
    (survey,) = tomllib.loads(found.stdout)["surveys"].values()
    assert ("suspect", "flag") == tuple(survey["rules"][0][key] for key in ("label", "action"))


def test_of_an_object_one_alert_counts(tmp_path: Path) -> None:
    """A hundred alerts of one star are no hundred labels."""
    rows = [each | {"object_id": f"ZTF{number // 10}"} for number, each in enumerate(ROWS[:REAL])]
    labels = labelled(tmp_path / "labels.csv", truth())
    found = tune(written(tmp_path, rows), "--labels", labels, "--lose-at-most", "0.02")
    assert "30 real alerts are labelled, one of each object" in str(found.exception)


def test_detections_are_a_truth(tmp_path: Path) -> None:
    """Three or more make an alert real, where no label says otherwise."""
    rows = [each | {"ndethist": 3.0 if n < REAL else 1.0} for n, each in enumerate(ROWS)]
    rows[REAL]["ndethist"] = 9.0  # a defect that recurs
    out = written(tmp_path, rows, ZTF, "ndethist")
    found = tune(out, "--truth", "detections", "--lose-at-most", "0.02")
    assert found.exit_code == 0, found.exception
    assert "labelled: 301 real, 0 artefacts" in found.stdout
    assert "completeness and purity: not known" in found.stdout
    assert 0.3 == limits(found)["cosmic-ray"]
    labels = labelled(tmp_path / "labels.csv", truth()[REAL:])
    both = tune(out, "--truth", "detections", "--labels", labels, "--lose-at-most", "0.02")
    assert "labelled: 300 real, 40 artefacts" in both.stdout
    assert 0.3 > limits(both)["cosmic-ray"]


def test_a_column_that_is_needed_is_named(tmp_path: Path) -> None:
    """For the truth, and for rules with conditions; the words can be given to ``annotate``."""
    found = tune(written(tmp_path / "a"), "--truth", "detections")
    assert "--columns ndethist or nDiaSources" in str(found.exception)
    rules = (replace(ZTF[0], unless={"isdiffpos": Condition(equals="f")}), *ZTF[1:])
    labels = labelled(tmp_path / "labels.csv", truth())
    found = tune(written(tmp_path / "b", ROWS, rules), "--labels", labels)
    assert "annotate with --columns isdiffpos:text" in str(found.exception)


def test_conditions_hold_rules_back(tmp_path: Path) -> None:
    """Real alerts that a rule spares do not raise its limit."""
    rules = (replace(ZTF[0], unless={"ndethist": Condition(at_least=3)}),)
    kept: dict[str, Any] = {"action": "keep", "ndethist": 5.0}
    rows = [*ROWS, *(row(2000 + n, 0.9, **kept) for n in range(5))]
    out = written(tmp_path, rows, rules, "ndethist")
    labels = labelled(tmp_path / "labels.csv", [*truth(), *((2000 + n, "real") for n in range(5))])
    found = tune(out, "--labels", labels, "--lose-at-most", "0.02")
    assert found.exit_code == 0, found.exception
    assert 0.21 > limits(found)["cosmic-ray"]


def stars(out: Path, *columns: str, **of_stars: Any) -> tuple[Path, list[tuple[object, ...]]]:
    """ROWS, seen once, and 40 real alerts like sure hits that have these numbers."""
    once = [each | dict.fromkeys(of_stars, 1.0) for each in ROWS]
    rows = [*once, *(row(2000 + n, 0.98, **of_stars) for n in range(40))]
    labels = [*truth(), *((2000 + n, "real") for n in range(40))]
    return written(out, rows, ZTF, *(columns or tuple(of_stars))), labels


def test_a_guard_spares_what_limits_cannot(tmp_path: Path) -> None:
    """Real alerts like hits, at places that were seen before: the limits stay, with a condition."""
    out, said = stars(tmp_path, ndethist=7.0)
    labels, site = labelled(tmp_path / "labels.csv", said), tmp_path / "tuned.toml"
    found = tune(out, "--labels", labels, "--lose-at-most", "0.02")
    assert found.exit_code == 0, found.exception
    assert "by limits and guards chosen on the others" in found.stdout
    assert "lost: 0 of 340" in found.stdout
    assert ", unless ndethist at least 7 (new)" in found.stdout
    assert 0.2 <= limits(found)["cosmic-ray"] < 0.21
    without = tune(out, "--labels", labels, "--lose-at-most", "0.02", "--guards", "")
    assert 0.98 < limits(without)["cosmic-ray"]
    site.write_text(found.stdout)
    (survey,) = load(site).surveys.values()
    given = {each.name: dict(each.unless) for each in survey.rules or ()}
    assert {"ndethist": Condition(at_least=7.0)} == given["cosmic-ray"]
    checked = CliRunner().invoke(root, ["config", "check", "--config", str(site)])
    assert (0, True) == (checked.exit_code, checked.output.startswith("well-formed"))


def test_what_says_that_an_alert_is_real_is_no_guard(tmp_path: Path) -> None:
    """By itself it is left out, and where it is asked for, refused; ours are no numbers of it."""
    out, said = stars(tmp_path, ndethist=7.0)
    labels = labelled(tmp_path / "labels.csv", said)
    arguments = (out, "--labels", labels, "--truth", "detections", "--lose-at-most", "0.02")
    assert "(new)" not in tune(*arguments).stdout
    refused = tune(*arguments, "--guards", "ndethist")
    assert "it would spare all of them" in str(refused.exception)
    for name in ("magpsf", "cr_core", "ra", "alert_id"):
        other = tune(*arguments[:3], "--guards", name)
        assert f"no number {name} of the alerts" in str(other.exception)


def test_annotations_of_other_rules_are_refused(tmp_path: Path) -> None:
    """Those in the metadata must have judged: their numbers depend on the priors."""
    rows = [each | {"action": "keep"} for each in ROWS]
    labels = labelled(tmp_path / "labels.csv", truth())
    found = tune(written(tmp_path / "a", rows), "--labels", labels)
    assert "annotations of several settings are mixed" in str(found.exception)
    rules = (replace(ZTF[0], engine="stampmask"),)
    bare = written(tmp_path / "b")
    (file,) = (bare / "annotations").rglob("*.parquet")
    table = pq.read_table(file, partitioning=None)
    told = json.loads(table.schema.metadata[b"streamfilter"])
    told["surveys"]["ztf"]["rules"] = [asdict(each) for each in rules]
    pq.write_table(table.replace_schema_metadata({"streamfilter": json.dumps(told)}), file)
    found = tune(bare, "--labels", labels)
    assert "annotate with one engine" in str(found.exception)


def test_labels_that_say_nothing_are_counted(tmp_path: Path) -> None:
    """Contradictions, those of no alert here, and those who cannot tell."""
    more = [(0, "artefact"), (77_777, "real"), (1, "cannot_tell")]
    labels = labelled(tmp_path / "labels.csv", [*truth(), *more])
    found = tune(written(tmp_path), "--labels", labels, "--lose-at-most", "0.02")
    assert (
        "labelled: 299 real, 40 artefacts; left out: 1 contradicting labels, 1 labels of no alert "
        "here, 1 labels that say neither"
    ) in found.stdout


PAGE = [
    ("real", "clean", True), ("artefact", "clean", False), ("right", "clean", True),
    ("wrong", "clean", False), ("right", "contaminated", False), ("wrong", "suspect", True),
    ("right", "not_evaluated", None), ("cannot_tell", "clean", None),
]  # fmt: skip


def test_labels_of_the_live_page_are_read(tmp_path: Path) -> None:
    """An answer about a verdict says whether the alert is real, where there was a verdict."""
    path = tmp_path / "labels.jsonl"
    records = [
        {"survey": "ztf", "alert_id": str(n), "answer": answer, "verdict": {"label": verdict}}
        for n, (answer, verdict, _) in enumerate(PAGE)
    ]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in records))
    labels = read_labels(path)
    for number, (*_, real) in enumerate(PAGE):
        assert (set() if real is None else {real}) == labels.of("ztf", str(number))
    assert set() == labels.of("lsst", "0")
    assert 2 == labels.undecided


def test_labels_in_parquet_are_read(tmp_path: Path) -> None:
    """Identifiers may be whole numbers, labels true and false."""
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"alert_id": [7, 8], "label": [True, False]}), path)
    labels = read_labels(path)
    assert ({True}, {False}) == (labels.of("ztf", "7"), labels.of("ztf", "8"))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "", "labels end in .csv"),
        ("a.csv", "id,label\n1,real\n", "label 1: id, label; expected alert_id, and label or"),
        ("a.csv", "alert_id,label\n1,maybe\n", "label 1: label 'maybe'; there are real, "),
        ("a.csv", "alert_id,label\n1,right\n", "'right'; there are real, "),
        ("a.csv", "alert_id,label\n,real\n", "alert_id ''; expected the alert's identifier"),
        ("a.jsonl", '{"alert_id": 1.5e18, "label": 1}\n', "alert_id 1.5e+18; expected"),
        ("a.jsonl", "{\n", "no labels: "),
        ("a.parquet", "no\n", "no labels: "),
    ],
)
def test_what_is_no_label_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    """With its place, what was found and what there is."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationInvalid, match=re.escape(said)):
        read_labels(tmp_path / name)


def test_wrong_arguments_are_told(tmp_path: Path) -> None:
    """No truth at all, a survey that there is not, a file without any label of these alerts."""
    out = written(tmp_path)
    assert (2, True) == ((found := tune(out)).exit_code, "give --labels FILE" in found.output)
    labels = labelled(tmp_path / "labels.csv", truth())
    found = tune(out, "--labels", labels, "--survey", "lsst")
    assert "no survey 'lsst'" in str(found.exception)
    others = labelled(tmp_path / "others.csv", [(99_999, "real")])
    found = tune(out, "--labels", others)
    assert (1, True) == (
        found.exit_code,
        "no alert is labelled; left out: 1 labels of no" in found.output,
    )


def test_real_alerts_are_tuned(
    samples: Path, engine_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Annotated packets bear out their own rules; three detections or a score say what is real."""
    monkeypatch.setenv("STREAMFILTER_HOME", str(engine_home))
    out, site = tmp_path / "out", tmp_path / "tuned.toml"
    call = ["annotate", str(samples / "ztf"), "--out", str(out), "--columns", "ndethist,rb"]
    done = CliRunner().invoke(root, [*call, "--workers", "1"])
    assert done.exit_code == 0, done.output
    table = ds.dataset(out / "annotations").to_table(["alert_id", "rb", "ndethist", "action"])
    bogus = [(each["alert_id"], "bogus") for each in table.to_pylist() if each["rb"] < 0.3]
    assert len(bogus) >= 6
    assert "drop" in table["action"].to_pylist()
    labels = labelled(tmp_path / "labels.csv", bogus)
    arguments = (out, "--truth", "detections", "--labels", labels, "--lose-at-most", "0.3")
    found = tune(*arguments)
    assert found.exit_code == 0, found.exception
    site.write_text(found.stdout)
    checked = CliRunner().invoke(root, ["config", "check", "--config", str(site)])
    assert checked.exit_code == 0, checked.exception
    assert re.search(r"labelled: \d+ real, \d+ artefacts", found.stdout)
    few = tune(*arguments[:-1], "0.001")
    assert "2995 are enough where none is lost" in str(few.exception)


def test_alerts_of_lsst_are_tuned(
    samples: Path, engine_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ``nDiaSources``, which some have not; two of 25 real packets were detected before."""
    monkeypatch.setenv("STREAMFILTER_HOME", str(engine_home))
    out, site = tmp_path / "out", tmp_path / "tuned.toml"
    call = ["annotate", str(samples / "lsst"), "--out", str(out), "--columns", "nDiaSources"]
    done = CliRunner().invoke(root, [*call, "--workers", "1"])
    assert done.exit_code == 0, done.output
    table = ds.dataset(out / "annotations").to_table(["alert_id", "nDiaSources", "action"])
    assert [320.0, 346.0] == sorted(n for n in table["nDiaSources"].to_pylist() if n and n > 2)
    few = tune(out, "--truth", "detections", "--lose-at-most", "0.3")
    assert "lsst: 2 real alerts are labelled" in str(few.exception)
    pairs = zip(table["alert_id"].to_pylist(), table["action"].to_pylist(), strict=True)
    said = [(key, "artefact" if action == "drop" else "real") for key, action in pairs]
    assert ["artefact"] == [label for _, label in said if label == "artefact"]
    labels = labelled(tmp_path / "labels.csv", said)
    found = tune(out, "--labels", labels, "--lose-at-most", "0.2")
    assert found.exit_code == 0, found.exception
    assert "by limits and guards chosen on the others" in found.stdout
    assert "labelled: 24 real, 1 artefacts" in found.stdout
    site.write_text(found.stdout)
    checked = CliRunner().invoke(root, ["config", "check", "--config", str(site)])
    assert checked.exit_code == 0, checked.exception


@pytest.mark.night
def test_a_share_of_painted_hits_is_found(
    samples: Path, engine_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real hits on real sky among alerts with a history, held apart from the labels."""
    monkeypatch.setenv("STREAMFILTER_HOME", str(engine_home))
    labels = bench_tune.make_painted(tmp_path)
    call = ["annotate", str(tmp_path / "painted.parquet"), "--out", str(tmp_path / "out")]
    assert 0 == CliRunner().invoke(root, call).exit_code
    read = read_labelled(tmp_path / "out", labels, detections=False, surveys=["ztf"], folds=5)
    assert read.samples["ztf"].real.sum() > 300
    for share in (0.1, 0.3):
        ratio, near, covered = bench_tune.drawn(read.samples["ztf"], share)
        assert ratio == pytest.approx(1, abs=0.2)
        assert near >= 0.7
        assert covered >= 0.9
