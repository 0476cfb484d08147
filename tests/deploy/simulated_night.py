"""A bit of everything that happens in a night, sent to a worker's topics."""

import io
import time

import fastavro
from kafka_desk import Broker
from test_exposure_stream import Site, noise

from streamfilter.exposures.records import Purpose
from streamfilter.files import bundled_folder
from streamfilter.simulate.frames import Exposure, readout
from streamfilter.simulate.visits import alerts

ALERTS = 40
LSST_ID = 900001
HOUR_MS = 3_600_000


def _without_stamp(value: bytes) -> bytes:
    """A packet in Confluent form whose science stamp is missing."""
    path = bundled_folder("schemas") / "simulated" / f"{LSST_ID}.avsc"
    schema = fastavro.schema.load_schema(str(path))
    record = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
    assert isinstance(record, dict)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, {**record, "cutoutScience": None})
    return value[:5] + out.getvalue()


def send_alerts(broker: Broker, topic: str, seed: int) -> int:
    """Clean and contaminated ones, some cut short, without stamp, or an hour old; how many."""
    light_end = time.time() - 20
    made = list(alerts(seed, ALERTS, scenes=ALERTS, start_unix_s=light_end, per_visit=ALERTS))
    values = [each.value for each in made]
    lsst = next(each.value for each in made if each.survey == "lsst")
    broker.produce(topic, [*values, values[0][: len(values[0]) // 2], _without_stamp(lsst)])
    broker.produce(topic, values[:2], timestamp_ms=int(time.time() * 1000) - HOUR_MS)
    return ALERTS + 4


def send_exposures(site: Site, wave: int) -> int:
    """A flat, one without stars, one too small, one that is no file, and last one that drifted.

    Returns
    -------
    int
        Those that are decided on: all but the flat.
    """
    site.announce(f"flat-{wave}", noise(wave), purpose=Purpose.CALIBRATION)
    site.announce(f"noise-{wave}", noise(wave))
    small = readout(Exposure(f"small-{wave}", 1, 100, 0.0), wave)[0]
    site.announce(f"small-{wave}", small, detector="CCD1")
    site.announce(f"spoilt-{wave}", b"not FITS", detector="CCD1")
    for name, drift_px in (("tracked", 0.0), ("drifted", 12.0)):
        exposure = Exposure(f"{name}-{wave}", 2, 420, drift_px, 0.6)
        for number, frame in enumerate(readout(exposure, wave), start=1):
            site.announce(f"{name}-{wave}", frame, expected=2, detector=f"CCD{number}")
    return 5
