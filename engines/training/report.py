"""The report of a training run: a table of its progress, and curves."""

import csv
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt


def write(folder: Path, priors: dict[str, float]) -> None:
    """Write ``report.md``, ``curves.png`` and ``priors.json`` beside the weights."""
    with (folder / "progress.csv").open() as file:
        rows = [{k: float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)]
    (folder / "priors.json").write_text(json.dumps(priors, indent=1) + "\n")
    steps = [row["step"] for row in rows]
    names = [name for name in rows[0] if name != "step"]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    for name in names:
        axis = axes[0] if name == "loss" or name.startswith("pixels") else axes[1]
        axis.plot(steps, [row[name] for row in rows], label=name)
    axes[0].set_yscale("log")
    axes[0].set_title("loss")
    axes[1].set_title("share found at 1e-3 false positives; auc of cores")
    for axis in axes:
        axis.set_xlabel("step")
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(folder / "curves.png", dpi=90)
    plt.close(figure)
    last = rows[-1]
    lines = [
        "# Training of stampmask",
        "",
        f"{int(last['step'])} steps.",
        "",
        "![](curves.png)",
        "",
    ]
    lines += ["| measure, validation part | last |", "|---|---|"]
    lines += [f"| {name} | {last[name]:.4g} |" for name in names]
    lines += ["", "| class | share of training pixels |", "|---|---|"]
    lines += [f"| {code} | {value:.2e} |" for code, value in priors.items()]
    (folder / "report.md").write_text("\n".join(lines) + "\n")
