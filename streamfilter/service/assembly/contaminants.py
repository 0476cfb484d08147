"""Makes a worker that searches exposures' frames for contaminants from the settings.

It is the worker for exposures once more, in a consumer group of its own. It reads the same
messages, finds the same of tracking, and adds what the networks for masks find, which takes some
forty times longer. So the verdict on tracking never waits for masks: they wait in Kafka, and none
is lost.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TypeVar

from prometheus_client import CollectorRegistry

from streamfilter.config import FrameContaminants, Settings
from streamfilter.contaminants import BY_CODE
from streamfilter.errors import ConfigurationInvalid, EngineUnavailable
from streamfilter.exposures.frames import FrameRules
from streamfilter.exposures.masking import COSMIC_RAY, Masker, MaskRules, Network, of_reach
from streamfilter.inference.engine import Engine
from streamfilter.inference.manifest import FrameClass, Manifest, OutputClass
from streamfilter.metrics.exposures import ExposureMetrics, describe_masking
from streamfilter.service.assembly.clients import Say
from streamfilter.service.assembly.engines import identity_of, opened, watch_device
from streamfilter.service.assembly.exposures import (
    Reading,
    assembled,
    checked_exposures,
    cosmic_ray_engine,
    mesh_of,
    open_watcher,
)
from streamfilter.service.exposures.frame_masks import FrameMasks, made_yielding
from streamfilter.service.exposures.worker import ExposureWorker

Warmed = TypeVar("Warmed", Engine, Engine | None)


def open_contaminants(
    settings: Settings, *, registry: CollectorRegistry, say: Say
) -> ExposureWorker:
    """Returns a worker with open engines; it joins its group when it runs.

    Raises
    ------
    ConfigurationInvalid, EngineUnavailable
        What is missing, and how to mend it.
    SchemaUnavailable
        A registry is configured for what is published, and it does not take the record.
    """
    checked_exposures(settings)
    chosen, outputs = settings.exposures.contaminants, settings.outputs
    threads = chosen.threads or os.cpu_count() or 1
    watcher = made_yielding(lambda: open_watcher(settings, say, threads=threads))
    engine = made_yielding(
        lambda: _warm(settings, opened(settings, chosen.engine, say, threads=threads))
    )
    cosmic_rays = made_yielding(
        lambda: _warm(settings, opened_for_cosmic_rays(settings, engine, say, threads))
    )
    rules = mask_rules(
        chosen, engine.manifest, None if cosmic_rays is None else cosmic_rays.manifest
    )
    masks = FrameMasks(
        Masker(engine, rules, cosmic_rays),
        rules,
        mesh=mesh_of(settings),
        folder=chosen.folder,
        sent=bool(outputs.masks),
    )
    reading = contaminants_reading(settings)
    metrics = ExposureMetrics(registry, of="contaminants")
    for each in filter(None, (watcher.engine, engine, cosmic_rays)):
        watch_device(each, metrics.device_memory)
    describe_masking(registry, asdict(identity_of(engine)))
    return assembled(
        settings,
        reading,
        watcher,
        metrics,
        masks=masks,
        masking=identity_of(engine),
        cosmic_rays=None if cosmic_rays is None else identity_of(cosmic_rays),
    )


def mask_rules(
    chosen: FrameContaminants, manifest: Manifest, cosmic_rays: Manifest | None = None
) -> MaskRules:
    """Returns how frames are masked; what the settings do not name is the engine's or the table's.

    Parameters
    ----------
    cosmic_rays
        The network that decides about them, whose numbers for frames hold; None: the first does,
        at its numbers for stamps.

    Raises
    ------
    ConfigurationInvalid
        The engine has not one of the chosen classes.
    """
    classes: dict[str, OutputClass | FrameClass] = {row.code: row for row in manifest.classes}
    by = cosmic_rays or manifest
    if cosmic_rays is not None:
        (classes[COSMIC_RAY],) = (row for row in by.classes if row.code == COSMIC_RAY)
        classes.update({row.code: row for row in by.in_frames if row.code == COSMIC_RAY})
    if unknown := sorted(set(chosen.classes) - set(classes)):
        raise ConfigurationInvalid(
            f"exposures.contaminants.classes: {manifest.name} has no {', '.join(unknown)}; "
            f"it has {', '.join(classes)}"
        )
    return MaskRules(
        tile_px=chosen.tile_px,
        priors={
            code: chosen.priors.get(code, row.prior or BY_CODE[code].prior)
            for code, row in classes.items()
        },
        thresholds={
            code: chosen.thresholds.get(code, row.threshold or BY_CODE[code].threshold)
            for code, row in classes.items()
        },
        classes=chosen.classes,
        networks={
            code: Network(each.name, each.version, each.onnx_sha256)
            for code in classes
            for each in (by if code == COSMIC_RAY else manifest,)
        },
    )


def file_mask_rules(
    chosen: FrameContaminants,
    manifest: Manifest,
    cosmic_rays: Manifest | None = None,
    classes: Sequence[str] = (),
    *,
    priors: bool = True,
) -> MaskRules:
    """Returns how frames in files are masked, by the settings and what is given beside them.

    Parameters
    ----------
    cosmic_rays
        As for ``mask_rules``.
    classes
        The only ones that masks tell; empty: those of the settings.
    priors
        Whether the network's output is changed to the priors of the settings.

    Raises
    ------
    ConfigurationInvalid
        The engine has not one of the chosen classes.
    """
    if classes:
        chosen = chosen.model_copy(update={"classes": tuple(classes)})
    rules = mask_rules(chosen, manifest, cosmic_rays)
    if "tile_px" not in chosen.model_fields_set:
        # A command has the machine to itself: in larger tiles fewer pixels are computed twice.
        rules = replace(rules, tile_px=MaskRules().tile_px)
    if not priors:
        training = {row.code: row.training_prior for row in manifest.classes}
        if cosmic_rays is not None:
            own = {row.code: row.training_prior for row in cosmic_rays.classes}
            training[COSMIC_RAY] = own[COSMIC_RAY]
        rules = replace(rules, priors=training)
    return rules


def uncut(rules: FrameRules) -> FrameRules:
    """Returns how frames to mask are read: without a cut, as a mask has the shape of its image."""
    return replace(rules, use_sections=False, mask_extensions=(), mask_planes=())


def opened_for_cosmic_rays(
    settings: Settings, engine: Engine, say: Say, threads: int
) -> Engine | None:
    """Returns the engine for cosmic rays; None where none is named.

    It is the other engine itself where the settings name that: then its numbers for frames hold.

    Raises
    ------
    ConfigurationInvalid, EngineUnavailable
        There is no such engine, or it cannot be had; the message says how to do without it.
    """
    chosen = cosmic_ray_engine(settings.exposures.contaminants)
    if chosen is None or chosen.name == engine.manifest.name:
        return None if chosen is None else engine
    wanted = settings.exposures.contaminants.engine.precision
    if chosen.precision != wanted:
        say(f"{chosen.name} is not offered at {wanted}: it runs at {chosen.precision}")
    try:
        return opened(settings, chosen, say, threads=threads)
    except EngineUnavailable as error:
        raise EngineUnavailable(
            f"{error}. {chosen.name} finds the cosmic rays in frames; with "
            f'exposures.contaminants.cosmic_rays = "{engine.manifest.name}" '
            f"{engine.manifest.name} does, and finds fewer"
        ) from error


def _warm(settings: Settings, engine: Warmed) -> Warmed:
    """Returns the engine after a run on one tile, so that a failure stops the start."""
    if engine is not None:
        rules = MaskRules(tile_px=settings.exposures.contaminants.tile_px)
        side = of_reach(rules, engine.manifest).tile_px
        engine.warm_up(((1, len(engine.manifest.planes), side, side),))
    return engine


def contaminants_reading(settings: Settings) -> Reading:
    """Returns how contaminants of frames are read and published."""
    chosen, outputs = settings.exposures.contaminants, settings.outputs
    return Reading(
        section="exposures.contaminants",
        topics=chosen.topics,
        group=chosen.group,
        wait_s=chosen.wait_s,
        output=outputs.contaminants,
        masks=outputs.masks,
    )
