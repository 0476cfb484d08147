"""Limits tuned on real ZTF alerts, and shares of painted hits: figures of ``deploy/ARCHIVE.md``.

    python tests/bench/bench_tune.py [FOLDER]

Into FOLDER go the alerts as a broker keeps them (Parquet with the stamps inside), labels of
asteroids and of what was detected once and is scored low, and what ``annotate`` makes of them. Then
``tune`` runs on them. A score is no truth (``deploy/RULES.md``): as a label of artefacts it stands
for a person's. At last real hits are painted on empty sky of these alerts, and streams are drawn of
them and of the alerts with a history, with known shares of hits, apart from those that are the
labels. All takes a minute on two cores.
"""

import argparse
import csv
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench_rules import SEED, with_hit
from checkout import ROOT
from painting import hits, sky

from streamfilter.archive.label_files import Labels
from streamfilter.archive.labelled import read_labelled
from streamfilter.archive.stream_share import nearness, stream_share
from streamfilter.archive.tuning import Sample
from streamfilter.records import Image, Stamp
from streamfilter.simulate.stamps import ztf_stamp
from training.samples import samples_folder

SAMPLES = samples_folder()
COLUMNS = ("ndethist", "ssdistnr", "ssmagnr", "magpsf", "distpsnr1", "rb", "drb", "jd")
NEAR_ARCSEC, ALIKE_MAG, FAR_ARCSEC = 3.0, 1.5, 1.5
LOW = {"rb": 0.3, "drb": 0.2}
LOSSES = ("0.02", "0.001")

SHARES = (0.02, 0.05, 0.1, 0.3)
HITS, FAINTEST, DRAWS = 600, 5.0, 100
SIDE_PX = 63
FIRST_HIT = 1_000_000  # identifiers of painted ones

Row = dict[str, str]


def make(folder: Path) -> None:
    """Write alerts and labels."""
    rows, images = _samples()
    _write([_alert(*each) for each in zip(rows, images, strict=True)], folder / "alerts.parquet")
    with (folder / "labels.csv").open("w", newline="") as file:
        labels = ((row["id"], _label(row)) for row in rows)
        writer = csv.writer(file)
        writer.writerow(["alert_id", "label"])
        writer.writerows(each for each in labels if each[1])


def make_painted(folder: Path) -> Labels:
    """Write alerts that are real and painted hits of signal to noise 5 and more; returns which."""
    rows, images = _samples()
    random, labels = np.random.default_rng(SEED), Labels()
    recorded = hits(SAMPLES)
    alerts = []
    for row, image in zip(rows, images, strict=True):
        if int(row["ndethist"]) >= 3 or _label(row) == "real":
            alerts.append(_alert(row, image))
            labels.add(row["id"], "", True)
    whole = [Stamp(each) for each in images if each.shape == (SIDE_PX, SIDE_PX)]
    for number, base in enumerate(sky(whole, HITS, random), FIRST_HIT):
        stamp, signal = with_hit(base, recorded[random.integers(len(recorded))], "ztf", random)
        if signal > FAINTEST:
            alerts.append(_alert({"id": str(number)}, stamp.image))
            labels.add(str(number), "", False)
    _write(alerts, folder / "painted.parquet")
    return labels


def drawn(sample: Sample, share: float) -> tuple[float, float, float]:
    """Found over true share: the median of draws; the parts of them within 20 %, and whose interval
    has the true one. Half of the alerts are the labels, streams are of the others.
    """
    random = np.random.default_rng(SEED)
    found = []
    for _ in range(DRAWS):
        real, hit = (
            random.permutation(np.flatnonzero(each)) for each in (sample.real, ~sample.real)
        )
        n, m = real.size // 2, hit.size // 2
        painted = random.choice(hit[m:], round(share / (1 - share) * (real.size - n)))
        stream = np.concatenate([real[n:], painted])
        chosen = (sample.values[:, each] for each in (real[:n], hit[:m], stream))
        one = stream_share(*(nearness(sample.rules, each) for each in chosen))
        true = painted.size / stream.size
        found.append(
            (one.share / true, abs(one.share / true - 1) < 0.2, one.low <= true <= one.high)
        )
    ratios, near, covered = np.array(found).T
    return float(np.median(ratios)), float(near.mean()), float(covered.mean())


def _samples() -> tuple[list[Row], list[Image]]:
    """Returns the table of real alerts, and their science stamps."""
    with (SAMPLES / "stamps" / "ztf_more.csv").open() as file:
        rows = list(csv.DictReader(file))
    stamps = np.load(SAMPLES / "stamps" / "ztf_more.npz")["stamps"]
    sizes = ((int(row["height"]), int(row["width"])) for row in rows)
    return rows, [stamp[0, :h, :w] for stamp, (h, w) in zip(stamps, sizes, strict=True)]


def _write(alerts: list[dict[str, object]], path: Path) -> None:
    table = pa.Table.from_pylist(alerts)
    unknown = pa.nulls(table.num_rows, pa.string())
    pq.write_table(table.append_column("objectId", unknown), path)


def _alert(row: Row, image: Image) -> dict[str, object]:
    """Returns a record as ZTF's packets have it, as far as it is known, with the science stamp."""
    return {
        "candid": int(row["id"]),
        "candidate": {name: float(row[name]) if row.get(name) else None for name in COLUMNS},
        "cutoutScience": {"stampData": ztf_stamp(image)},
    }


def _label(row: Row) -> str:
    """Returns real for a known asteroid, artefact for what is likely one, nothing for others."""
    asteroid = 0 <= float(row["ssdistnr"]) < NEAR_ARCSEC
    if asteroid and abs(float(row["magpsf"]) - float(row["ssmagnr"])) < ALIKE_MAG:
        return "real"
    alone = int(row["ndethist"]) == 1 and not 0 <= float(row["distpsnr1"]) < FAR_ARCSEC
    low = any(row[name] and float(row[name]) <= limit for name, limit in LOW.items())
    return "artefact" if alone and low and not asteroid else ""


def run(folder: Path, *words: str) -> None:
    """Run a command of the program in the folder, and show it."""
    print(f"$ {shlex.join(['streamfilter', *words])}", flush=True)
    command = [sys.executable, "-m", "streamfilter", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=folder, env=environment, stderr=subprocess.STDOUT, check=False)
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="default: one that is removed again")
    given: Path | None = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        folder = given or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make(folder)
        run(folder, "annotate", "alerts.parquet", "--out", "annotations", "--columns", "ndethist")
        truth = ("--truth", "detections", "--labels", "labels.csv")
        for loss in LOSSES:
            run(folder, "tune", "annotations", *truth, "--lose-at-most", loss, "--stream-share")
        labels = make_painted(folder)
        run(folder, "annotate", "painted.parquet", "--out", "painted")
        read = read_labelled(folder / "painted", labels, detections=False, surveys=["ztf"], folds=5)
        sample = read.samples["ztf"]
        print(f"painted: {sample.real.sum()} real alerts, {(~sample.real).sum()} hits")
        for share in SHARES:
            ratio, near, covered = drawn(sample, share)
            print(
                f"share {share:g}: found {ratio:.2f} of it (median), within 20 % in {near:.0%} of "
                f"draws; the interval has it in {covered:.0%}"
            )


if __name__ == "__main__":
    main()
