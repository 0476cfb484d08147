"""Trains stampmask: ``make train``, or ``python -m training.train --help`` in engines/.

Progress is printed and written to a table; a run that was ended goes on from its checkpoint.
"""

import argparse
import csv
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from streamfilter.alerts.placement import core
from streamfilter.records import NotEvaluated
from training import calibrate, network, report
from training.data import Core, Part, Planes
from training.examples import Batch
from training.export import write_weights
from training.feeding import Chances, Painter, Sources, batches, by_side, chances_of
from training.planes import Input, stack
from training.samples import samples_folder

POOL = {64: 512, 32: 3072}
"""Examples of a pool by side; each pool is learned ``PASSES`` times."""
SIZES = {64: 4, 32: 24}
"""Examples of a step by side."""
PASSES = 3
CORE_WEIGHT = 0.06
"""Of the weak labels at the core, against a pixel's share of the painted ones."""
PEAK_RATE = 2e-3
ENDING = 0.3
"""Share of the steps over which the rate falls at the end."""
DECAY = 1e-4
AVERAGED_STEPS = 400
"""Steps over which weights are averaged."""
VALIDATION = {64: 192, 32: 512}
AT_ONCE = 64


@dataclass(slots=True)
class State:
    """All that a run needs to go on."""

    step: int
    parameters: network.Parameters
    averaged: network.Parameters
    optimiser: Any
    chances: Chances
    rows: list[dict[str, float]]


def optimiser(steps: int) -> optax.GradientTransformation:
    """Returns AdamW with a short start and a linear end; a run may be made longer before that."""
    start, end = min(200, steps // 10), int(ENDING * steps)
    rate = optax.join_schedules(
        [
            optax.linear_schedule(0.0, PEAK_RATE, start),
            optax.constant_schedule(PEAK_RATE),
            optax.linear_schedule(PEAK_RATE, PEAK_RATE / 100, end),
        ],
        [start, steps - end],
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=DECAY))


def loss(parameters: network.Parameters, parts: dict[int, tuple[Any, ...]]) -> Any:
    """Returns the loss of a batch of every side."""
    pixels = sum(len(part[0]) * side**2 for side, part in parts.items())
    stamps = sum(len(part[0]) for part in parts.values())
    total = 0.0
    for side, (images, target, weight, near, real, bogus, dipole) in parts.items():
        found = network.logits(parameters, images.astype(jnp.float32))
        painted = network.pixel_loss(found, target.astype(jnp.float32), weight.astype(jnp.float32))
        known = network.core_loss(found, near, real, bogus, dipole)
        count = len(images)
        total += painted * count * side**2 / pixels + CORE_WEIGHT * known * count / stamps
    return total


def stepper(rule: optax.GradientTransformation) -> Any:
    """Returns the compiled step."""

    def step(parameters: Any, averaged: Any, state: Any, parts: Any, keep: Any) -> Any:
        value, slope = jax.value_and_grad(loss)(parameters, parts)
        change, state = rule.update(slope, state, parameters)
        parameters = optax.apply_updates(parameters, change)
        averaged = jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, averaged, parameters)
        return parameters, averaged, state, value

    return jax.jit(step)


def arrays(batch: Batch) -> tuple[npt.NDArray[Any], ...]:
    """Returns the arrays of a batch, in order."""
    return tuple(getattr(batch, name) for name in Batch.__slots__)


class Mining:
    """Tells which alerts' cores the network takes for what they are not."""

    def __init__(self, alerts: dict[int, list[Planes]]) -> None:
        self._evidence = jax.jit(lambda p, x, c: network.core_evidence(network.logits(p, x), c))
        known = [e for each in alerts.values() for e in each if _wrong(e.core, 0.5)]
        self._stacks: dict[int, list[tuple[Planes, Input]]] = {}
        for each in {planes.alert_id: planes for planes in known}.values():
            found = stack(each.science, each.template, each.difference, each.variance)
            if not isinstance(found, NotEvaluated) and found.tensor.shape[-1] in alerts:
                self._stacks.setdefault(found.tensor.shape[-1], []).append((each, found))

    def wrong(self, parameters: network.Parameters) -> dict[str, float]:
        """Returns by alert how wrong the network is, for real and bogus alike."""
        made: dict[str, float] = {}
        for side, each in self._stacks.items():
            for start in range(0, len(each), AT_ONCE):
                chunk = each[start : start + AT_ONCE]
                images = np.zeros((AT_ONCE, side, side, 5), np.float32)  # one shape compiles once
                cores = np.zeros((AT_ONCE, side, side), np.uint8)
                for number, (_, found) in enumerate(chunk):
                    place = found.placement
                    images[number] = found.tensor.transpose(1, 2, 0)
                    rows = slice(place.top, place.top + place.height)
                    columns = slice(place.left, place.left + place.width)
                    cores[number, rows, columns] = core(place.height, place.width)
                absence = np.asarray(self._evidence(parameters, images, cores))
                for (planes, _), value in zip(chunk, absence, strict=False):
                    made[planes.alert_id] = _wrong(planes.core, float(value))
        return made


def _wrong(core: Core, absence: float) -> float:
    """Returns -log of the probability of what is known; ``absence`` is that of no contaminant."""
    if core in (Core.REAL, Core.LIKELY):
        return absence
    if core in (Core.BOGUS, Core.DIPOLE):
        return -float(np.log(-np.expm1(-max(absence, 1e-6))))
    return 0.0


def measured(parameters: network.Parameters, held: dict[int, Batch]) -> dict[str, float]:
    """Returns the losses of the validation examples, and the share of hits' pixels found."""
    found: dict[str, float] = {}
    for side, batch in held.items():
        outputs = calibrate.outputs(parameters, batch)
        target, weight = batch.target.astype(bool), batch.weight > 0
        each = np.logaddexp(0, outputs) - target * outputs
        found[f"pixels_{side}"] = float((each * weight).sum() / np.prod(outputs.shape[:3]))
        for code, name in ((0, "cr"), (1, "trl"), (9, "res")):
            known = weight[..., code]
            hit, values = target[..., code] & known, outputs[..., code]
            over = np.quantile(values[known & ~target[..., code]], 1 - 1e-3)
            found[f"{name}_{side}"] = float((values[hit] > over).mean()) if hit.any() else 0.0
        evidence = calibrate.evidence(outputs, batch)
        real, bogus = evidence[batch.real == 1], evidence[batch.bogus > 0]
        if real.size and bogus.size:
            found[f"auc_{side}"] = float((bogus[:, None] > real).mean())
    return found


def started(seed: int, steps: int, alerts: dict[int, list[Planes]], file: Path) -> State:
    """Returns the state of the checkpoint, or the first."""
    if file.exists():
        with file.open("rb") as raw:
            found: State = pickle.load(raw)  # ours, in the folder of the run
        found.chances = chances_of(alerts)
        print(f"goes on at step {found.step} from {file}", flush=True)
        return found
    first = network.initial(seed)
    return State(0, first, first, optimiser(steps).init(first), chances_of(alerts), [])


def run(sources: Sources, out: Path, steps: int, seed: int) -> network.Parameters:
    """Train, and return the averaged weights."""
    out.mkdir(parents=True, exist_ok=True)
    alerts = by_side(sources.alerts(), Part.TRAIN)
    held_alerts = chances_of(by_side(sources.alerts(), Part.VALIDATION))
    state = started(seed, steps, alerts, out / "checkpoint.pickle")
    if state.step >= steps:
        return state.averaged
    painter = Painter(sources, Part.TRAIN, POOL)
    judge = Painter(sources, Part.VALIDATION, VALIDATION)
    coming = painter.ask(state.chances, seed + state.step)
    held = judge.ask(held_alerts, 999).result()
    judge.close()
    mining, step = Mining(alerts), stepper(optimiser(steps))
    begun, from_step = time.monotonic(), state.step
    while state.step < steps:
        pool = coming.result()
        random = np.random.default_rng(seed + state.step)
        coming = painter.ask(state.chances, seed + state.step + 1)
        values = []
        for parts in batches(pool, SIZES, PASSES, random):
            given = {side: arrays(each) for side, each in parts.items()}
            keep = min(1 - 1 / AVERAGED_STEPS, state.step / (state.step + 10))
            state.parameters, state.averaged, state.optimiser, value = step(
                state.parameters, state.averaged, state.optimiser, given, keep
            )
            values.append(float(value))
            state.step += 1
        state.chances = chances_of(alerts, mining.wrong(state.averaged))
        row = {"step": state.step, "loss": float(np.mean(values)), **measured(state.averaged, held)}
        state.rows.append(row)
        rate = (state.step - from_step) / (time.monotonic() - begun)
        left = max(steps - state.step, 0) / rate / 60
        print(
            " ".join(f"{key} {value:.4g}" for key, value in row.items())
            + f" | {rate:.2f} steps/s, {left:.1f} min left",
            flush=True,
        )
        _keep(state, out)
    painter.close()
    return state.averaged


def _keep(state: State, out: Path) -> None:
    """Write the checkpoint whole or not at all, and the table."""
    plain = jax.tree.map(np.asarray, (state.parameters, state.averaged, state.optimiser))
    parameters, averaged, rule = plain
    kept = State(state.step, parameters, averaged, rule, state.chances, state.rows)
    part = out / "checkpoint.part"
    with part.open("wb") as file:
        pickle.dump(kept, file)
    part.replace(out / "checkpoint.pickle")
    with (out / "progress.csv").open("w", newline="") as file:
        names = list(dict.fromkeys(name for row in state.rows for name in row))
        table = csv.DictWriter(file, names)
        table.writeheader()
        table.writerows(state.rows)


def main() -> None:
    """Train, calibrate on the validation part, and write weights and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, default=samples_folder())
    parser.add_argument("--packets", type=Path, nargs="*", default=(), help="of another survey")
    parser.add_argument("--labels", type=Path, help="CSV of id, exposure, core for these packets")
    parser.add_argument("--out", type=Path, default=Path(".cache/stampmask"))
    parser.add_argument("--steps", type=int, default=30_720)
    parser.add_argument("--seed", type=int, default=14)
    chosen = parser.parse_args()
    sources = Sources(chosen.samples, tuple(chosen.packets), chosen.labels)
    averaged = run(sources, chosen.out, chosen.steps, chosen.seed)
    weights, priors = calibrate.calibrated(averaged, sources)
    write_weights(chosen.out / "weights.npz", weights)
    report.write(chosen.out, priors)
    print(f"wrote {chosen.out / 'weights.npz'}; python -m training.export puts it into the engine")


if __name__ == "__main__":
    main()
