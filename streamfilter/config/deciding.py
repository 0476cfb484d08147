"""A digest of the settings that decide verdicts and outputs; the workers of a group compare it."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamfilter.config.sections import Settings
from streamfilter.config.showing import shown

_EVERYWHERE = (
    "delivery.guarantee",
    "kafka.output_bootstrap",
    "outputs.rejected",
    "schemas.publish.url",
)
_OF_ALERTS = (
    "alerts.topics", "alerts.planes", "surveys", "limits", "engine.name", "engine.precision",
    "engine.also",
    "flow.overload", "flow.shed_after_s", "outputs.annotations", "outputs.enriched",
    "outputs.clean", "outputs.contaminated",
)  # fmt: skip
_OF_EXPOSURES = (
    "exposures.prior", "exposures.elongated", "exposures.round", "exposures.tiles_enough",
    "exposures.background", "exposures.max_message_bytes", "exposures.max_frame_bytes",
    "exposures.max_frame_pixels", "exposures.max_frame_planes", "exposures.engine.name",
    "exposures.engine.precision", "exposures.instruments",
)  # fmt: skip
_OF_TRACKING = ("exposures.topics", "exposures.wait_s", "outputs.tracking")
_OF_CONTAMINANTS = (
    "exposures.contaminants.topics", "exposures.contaminants.wait_s",
    "exposures.contaminants.engine.name", "exposures.contaminants.engine.precision",
    "exposures.contaminants.cosmic_rays", "exposures.contaminants.tile_px",
    "exposures.contaminants.priors", "exposures.contaminants.thresholds",
    "exposures.contaminants.classes",
    "outputs.contaminants", "outputs.masks",
)  # fmt: skip
DECIDING = {
    "alerts": (*_EVERYWHERE, *_OF_ALERTS),
    "exposures": (*_EVERYWHERE, *_OF_EXPOSURES, *_OF_TRACKING),
    "exposures.contaminants": (*_EVERYWHERE, *_OF_EXPOSURES, *_OF_CONTAMINANTS),
}
"""The keys and whole sections that decide what a worker publishes, by worker."""


def digest(settings: Settings, section: str) -> str:
    """Returns twelve hexadecimal digits of what decides the outputs of a worker; no secret is in
    them.

    Where a file lies, how many threads there are and what is listened on may differ between
    machines. Of field maps of one's own their content counts.
    """
    tree = shown(settings)
    chosen = {key: _at(tree, key) for key in DECIDING[section]}
    if section == "alerts":
        chosen["maps"] = sorted(_contents(settings.alerts.survey_folders))
        if also := chosen.pop("engine.also"):  # without its runtimes and plans
            chosen["engine.also"] = [
                {key: each.get(key) for key in ("name", "precision", "when")} for each in also
            ]
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]


def _at(tree: Any, key: str) -> Any:
    for name in key.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _contents(folders: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    """Returns names and digests of field maps."""
    for folder in folders:
        for file in folder.glob("*.toml"):
            yield file.name, hashlib.sha256(file.read_bytes()).hexdigest()
