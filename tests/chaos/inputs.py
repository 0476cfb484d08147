"""Topics with damaged, vanishing and huge messages."""

import io
import time
from collections import Counter
from collections.abc import Mapping

import numpy as np
from astropy.io import fits
from stage import MIB_40, PARTITIONS, Stage
from watch import Feed

from streamfilter.exposures.announce import encode_exposure
from streamfilter.exposures.records import Announced

_FRAME_SIDE_PX = 2740  # 30 MB of float32
_FRAME_DUE = (frozenset({"detector"}), frozenset({"exposure"}))


def poison(stage: Stage) -> None:
    """One message in three of one partition is damaged; the others hold good alerts."""
    stage.start()
    with stage.fault():
        stage.send(40 * stage.rounds, partitions=(0,), damaged_every=3)
    stage.send(80 * stage.rounds, partitions=(1, 2, 3))


def remake_topic(stage: Stage) -> None:
    """The topic is deleted when all is read, made again, and filled further than before."""
    stage.start()
    for turn in range(stage.rounds):
        stage.wait_for(stage.send(40))
        stage.wait_committed()
        before = stage.broker.size(stage.topic)
        with stage.fault():
            stage.broker.delete(stage.topic)
        time.sleep(0 if turn % 2 else 3)
        stage.broker.topic(PARTITIONS, name=stage.topic, max_message_bytes=MIB_40)
        # A producer keeps a topic by its identity too.
        stage.feed = Feed(stage.broker.bootstrap)
        # Beyond the old end: whoever went on from where it stood would skip the beginning.
        stage.wait_for(stage.send(before + 60))


def frames_beside(stage: Stage) -> None:
    """Frames of 30 MB on a topic of exposures, and alerts, in one process."""
    topic = stage.broker.topic(stem="exposures", max_message_bytes=MIB_40)
    stage.settings |= {"exposures.topics": f'["{topic}"]', "exposures.group": f"group-{topic}",
                       "exposures.threads": "1"}  # fmt: skip
    image = np.random.default_rng(1).normal(1000, 10, (_FRAME_SIDE_PX, _FRAME_SIDE_PX))
    out = io.BytesIO()
    fits.PrimaryHDU(image.astype(np.float32)).writeto(out)

    def tracked() -> Mapping[str, Counter[bytes | None]]:
        found: dict[str, Counter[bytes | None]] = {"detector": Counter(), "exposure": Counter()}
        for message in stage.broker.read(stage.outputs["tracking"]):
            kind = dict(message.headers)["streamfilter-kind"] or b""
            found[kind.decode()][message.key] += 1
        return {**found, "tracking": Counter()}

    stage.found_more = tracked
    stage.start()
    for number in range(stage.rounds):
        announced = Announced(
            exposure_id=f"visit-{number}", instrument="camera", detectors_expected=1
        )
        key = b"camera/visit-%d" % number
        with stage.fault():
            stage.feed.send(topic, 0, key, encode_exposure(announced, out.getvalue()))
        stage.due[key] = _FRAME_DUE
        stage.send(60)
    stage.wait_for(list(stage.due))
    stage.remarks.append(f"{stage.rounds} frames of {len(out.getvalue()) / 1e6:.0f} MB")
