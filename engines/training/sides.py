"""Measures under which prior the network's outputs hold, by class and side, for the manifest.

``python -m training.sides`` in engines/, after an export. Painted classes are not equally frequent
in stamps of one survey and of another, and the network knows which it sees: its outputs hold under
the shares of pixels in such stamps, and not under the mean over all. The prior of a side is the
one under which as many pixels of kept-back examples are of a class as the outputs say.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from training import calibrate, data
from training.calibrate import Reals
from training.canvas import INDEX
from training.data import Part, Planes
from training.examples import brushes, examples
from training.export import ENGINE
from training.feeding import SMALL
from training.priors import prior_of, with_side_priors
from training.profiles import with_profiles
from training.samples import samples_folder

COUNTS = {32: 8000, 64: 4000}
"""Examples by side; of small stamps more, each of which shows less."""
ENOUGH_ALERTS = 100
"""Where the validation part has fewer, alerts of the training part are painted on too, with hits
of the validation part: 20 stamps of 30 px have no star to paint with."""
SEED = 20_261_201


def members(alerts: Sequence[Planes], side: int) -> list[Planes]:
    """Returns the alerts to measure a side on: those whose stamps go in at that side in service."""
    fitting = [each for each in alerts if (each.survey in SMALL) == (side == min(COUNTS))]
    held = [each for each in fitting if each.part is Part.VALIDATION]
    if len(held) >= ENOUGH_ALERTS:
        return held
    return [each for each in fitting if each.part is not Part.TEST]


def measured(
    weights: Mapping[str, Reals], alerts: Sequence[Planes], hits: Sequence[data.Reals]
) -> dict[str, dict[int, float]]:
    """Returns the prior of each class at each side; every alert is drawn as often as any other."""
    found: dict[str, dict[int, float]] = {code: {} for code in INDEX}
    for side, count in COUNTS.items():
        bases = members(alerts, side)
        chances = np.full(len(bases), 1 / len(bases))
        batch = examples(bases, chances, brushes(hits), count, side, SEED + side)
        logits = calibrate.outputs(dict(weights), batch)
        for code, index in INDEX.items():
            found[code][side] = prior_of(*calibrate.known(logits, batch, index))
    return found


def main() -> None:
    """Measure the engine's weights and write its manifest."""
    folder, file = samples_folder(), ENGINE / "engine.toml"
    alerts = with_profiles(data.samples(folder))
    with np.load(ENGINE / "weights.npz") as archive:
        weights = dict(archive)
    priors = measured(weights, alerts, data.hits(folder, Part.VALIDATION))
    for code, each in priors.items():
        print(code, *(f"{side} px: {value:.1e}" for side, value in each.items()))
    file.write_text(with_side_priors(file.read_text(), priors))


if __name__ == "__main__":
    main()
