"""From settings to a worker that searches exposures' frames for contaminants.

It is the worker for exposures once more, in a consumer group of its own: it reads the same
messages, says of tracking the same, and adds what MaxiMask finds, which takes some eight times
longer. So the verdict on tracking never waits for masks: they wait in Kafka, and none is lost.
"""

import os
from dataclasses import asdict

from prometheus_client import CollectorRegistry

from streamfilter.config import FrameContaminants, Settings
from streamfilter.contaminants import BY_CODE
from streamfilter.errors import ConfigurationInvalid
from streamfilter.exposures.masking import Masker, MaskRules
from streamfilter.inference.engine import Engine
from streamfilter.inference.manifest import Manifest
from streamfilter.metrics.exposures import ExposureMetrics, describe_masking
from streamfilter.service.assembly.clients import Say
from streamfilter.service.assembly.engines import identity_of, opened, watch_device
from streamfilter.service.assembly.exposures import (
    Reading,
    assembled,
    checked_exposures,
    mesh_of,
    open_watcher,
)
from streamfilter.service.exposures.frame_masks import FrameMasks, made_yielding
from streamfilter.service.exposures.worker import ExposureWorker


def open_contaminants(
    settings: Settings, *, registry: CollectorRegistry, say: Say
) -> ExposureWorker:
    """A worker with open engines, which joins its group when it is run.

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
    engine = made_yielding(lambda: _warm(settings, say, threads))
    rules = mask_rules(chosen, engine.manifest)
    masks = FrameMasks(
        Masker(engine, rules),
        rules,
        mesh=mesh_of(settings),
        folder=chosen.folder,
        sent=bool(outputs.masks),
    )
    reading = contaminants_reading(settings)
    metrics = ExposureMetrics(registry, of="contaminants")
    for each in (watcher.engine, engine):
        watch_device(each, metrics.device_memory)
    describe_masking(registry, asdict(identity_of(engine)))
    return assembled(settings, reading, watcher, metrics, masks=masks, masking=identity_of(engine))


def mask_rules(chosen: FrameContaminants, manifest: Manifest) -> MaskRules:
    """Returns how frames are masked; what the settings do not name is the engine's or the table's.

    Raises
    ------
    ConfigurationInvalid
        The engine has not one of the chosen classes.
    """
    classes = manifest.classes
    if unknown := sorted(set(chosen.classes) - set(manifest.codes)):
        raise ConfigurationInvalid(
            f"exposures.contaminants.classes: {manifest.name} has no {', '.join(unknown)}; "
            f"it has {', '.join(manifest.codes)}"
        )
    return MaskRules(
        tile_px=chosen.tile_px,
        priors={
            row.code: chosen.priors.get(row.code, row.prior or BY_CODE[row.code].prior)
            for row in classes
        },
        thresholds={
            row.code: chosen.thresholds.get(row.code, row.threshold or BY_CODE[row.code].threshold)
            for row in classes
        },
        classes=chosen.classes,
    )


def _warm(settings: Settings, say: Say, threads: int) -> Engine:
    """The engine, run once on a tile: what cannot be stops the start."""
    chosen = settings.exposures.contaminants
    engine = opened(settings, chosen.engine, say, threads=threads)
    engine.warm_up(((1, 1, chosen.tile_px, chosen.tile_px),))
    return engine


def contaminants_reading(settings: Settings) -> Reading:
    """How contaminants of frames are come by."""
    chosen, outputs = settings.exposures.contaminants, settings.outputs
    return Reading(
        section="exposures.contaminants",
        topics=chosen.topics,
        group=chosen.group,
        wait_s=chosen.wait_s,
        output=outputs.contaminants,
        masks=outputs.masks,
    )
