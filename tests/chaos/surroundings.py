"""What stands around a worker: registry, disk, clock, and outputs that take their time."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from debian_tools import ToolsUnavailable, unpacked
from filter_process import FilterProcess
from loopback_registry import serving
from stage import IN_FLIGHT, MIB_40, PATIENCE_S, CannotBe, Stage

import streamfilter
from streamfilter.inference.cache import onnx_path
from streamfilter.inference.manifest import load
from streamfilter.simulate.writers import SIMULATED_SCHEMA_ID, writer

_OTHERS = (1, 2, 3)  # partitions without trouble
_DISK_MB = 40  # the network takes 23
_JUMPS = ("+30m", "-2h", "+0")  # to the clock, from what it really is
_SLOW_BYTES_PER_S = 2_000_000
_NO_ANSWER_BYTES = "200"  # less than an annotation, or our headers alone


def with_id(identity: int) -> Callable[[bytes], bytes]:
    """Give a packet in Confluent form another schema id."""
    return lambda value: value[:1] + identity.to_bytes(4, "big") + value[5:]


def registry_trouble(stage: Stage) -> None:
    """The registry fails in three ways, each time when a schema comes that no worker has met."""
    modes = ("hanging", "nonsense", "gone") * stage.rounds
    known = range(SIMULATED_SCHEMA_ID, SIMULATED_SCHEMA_ID + len(modes))
    stage.home = _home_with_engine(stage.folder / "home", stage.home)
    with serving(dict.fromkeys(known, writer("lsst").definition)) as registry:
        asking = {key.replace("__", "."): value for key, value in registry.settings().items()}
        stage.start({"schemas.folders": "[]", **asking})
        for identity, mode in zip(known, modes, strict=True):
            registry.mode = mode
            with stage.fault():
                waiting = stage.send(20, partitions=(0,), survey="lsst", change=with_id(identity))
            others = stage.send(60, partitions=_OTHERS, survey="ztf")
            stage.wait_for(others, "annotations")
            if early := stage.watch.keys.intersection(waiting):
                stage.wrong.append(f"{len(early)} answered while the registry was {mode}")
            registry.mode = "well"
            stage.bring_back(waiting)


def full_disk(stage: Stage) -> None:
    """The engine cache stands on a disk without room: at the start, and then under way."""
    with _small_disk(stage.folder / "disk") as disk:
        engines, stage.home = stage.home, disk
        first = stage.send(30, survey="ztf")
        filler = _fill(disk)
        with stage.fault():
            worker = stage.start(ready=False)
            code = worker.process.wait(PATIENCE_S)
        said = worker.log.read_text()
        if "pip did not download" in said:
            raise CannotBe("the network's release cannot be downloaded here")
        if code == 0 or "STREAMFILTER_HOME" not in said:
            stage.wrong.append(f"no room for the network: exit code {code}, which names no mend")
        filler.unlink()
        _home_with_engine(disk, engines)
        stage.start()
        stage.wait_for(first)
        with stage.fault():
            filler = _fill(disk)
        others = stage.send(60, partitions=_OTHERS, survey="ztf")
        later = stage.send(40, partitions=(0,), survey="lsst")
        stage.wait_for(others)
        filler.unlink()
        stage.bring_back(later)


def jump(stage: Stage) -> None:
    """The worker's wall clock jumps ahead and back; its monotonic clock goes on."""
    clock = stage.folder / "clock"
    clock.write_text("+0\n")
    worker = stage.start(environment=_false_clock(clock))
    with stage.flowing(per_s=25):
        for turn in range(stage.rounds):
            stage.wait_answered(len(stage.due) + 20)
            with stage.fault():
                clock.write_text(_JUMPS[turn % len(_JUMPS)] + "\n")
    stage.wait_for(list(stage.due))
    # That the worker lived in another time, its annotations say.
    off = [abs(_received_s(m.value) - time.time()) for m in
           stage.broker.read(stage.outputs["annotations"]) if m.value]  # fmt: skip
    stage.remarks.append(f"annotations received up to {max(off):.0f} s off")
    if max(off) < 1000:
        stage.wrong.append("the worker's clock did not jump")
    stage.stop(worker)
    stage.start()


def far_ahead(stage: Stage) -> None:
    """A clock a day ahead: brokers refuse its messages; the worker says so, another goes on.

    That outputs then carry their inputs' times is tested at the producers: librdkafka's waits do
    not end under libfaketime once a clock has jumped so far.
    """
    clock = stage.folder / "clock"
    clock.write_text("+0\n")
    worker = stage.start(environment=_false_clock(clock))
    stage.wait_for(stage.send(40))
    stage.send(80)
    with stage.fault():
        clock.write_text("+1d\n")
        stage.send(20)
        stage.wait_until(
            lambda: "set this machine's clock" in worker.log.read_text(), "a word on the clock"
        )
        worker.process.kill()
    stage.start()


def slow_outputs(stage: Stage) -> None:
    """The broker takes 2 MB a second from the worker, a tenth of what it has to say."""
    node = stage.broker.node
    if node is None:
        raise CannotBe("no quota is set on a broker that is not ours (STREAMFILTER_TEST_BOOTSTRAP)")
    who = ("--entity-type", "clients", "--entity-name", "slow")
    quota = "producer_byte_rate"
    worker = stage.start({"kafka.producer": '{"client.id" = "slow"}'})
    stage.wait_for(stage.send(20))
    with stage.fault():
        node.configure("--add-config", f"{quota}={_SLOW_BYTES_PER_S}", *who)
    stage.send(100 * stage.rounds)
    try:
        most = 0.0
        end = time.monotonic() + 10
        while time.monotonic() < end:
            most = max(most, worker.metric("streamfilter_in_flight_messages"))
            time.sleep(0.1)
        if not 0 < most <= IN_FLIGHT:
            stage.wrong.append(f"{most:.0f} in flight, at most {IN_FLIGHT} may be")
        stage.remarks.append(f"at most {most:.0f} in flight, {worker.peak_mb():.0f} MB of memory")
    finally:
        node.configure("--delete-config", quota, *who)


def refusing_outputs(stage: Stage) -> None:
    """No output takes an answer: the worker ends, and so does the next, until that is mended."""
    refusing = [stage.outputs[name] for name in ("rejected", "annotations")]
    worker = stage.start()
    stage.send(60 * stage.rounds + 100)
    stage.wait_answered(40)
    stage.wait_in_network(worker)
    with stage.fault():
        for topic in refusing:
            stage.broker.alter(topic, max_message_bytes=_NO_ANSWER_BYTES)
        _ends_unanswered(stage, worker)
    for _ in range(stage.rounds):  # as whatever watches over it would start it again
        with stage.fault():
            _ends_unanswered(stage, stage.start(ready=False))
    for topic in refusing:
        stage.broker.alter(topic, max_message_bytes=MIB_40)
    stage.start()


def _ends_unanswered(stage: Stage, worker: FilterProcess) -> None:
    """Wait for a worker's end; it names what has no answer, and what has none is not committed."""
    if (code := stage.wait_ended(worker)) != 1 or "has no answer" not in worker.log.read_text():
        stage.wrong.append(f"{worker.log.name}: exit code {code}, which names no message")
    if lost := stage.committed_unanswered():
        stage.wrong.append(f"{len(lost)} committed without an answer")


def _received_s(value: bytes) -> float:
    return float(streamfilter.read(value)["times"]["received"].timestamp())


def _home_with_engine(home: Path, engines: Path) -> Path:
    """A home of its own: no schema is there yet."""
    network = load("maximask")
    target = onnx_path(network, home)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(onnx_path(network, engines), target)
    return home


def _fill(disk: Path) -> Path:
    """Write until there is no room left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            return filler


@contextmanager
def _small_disk(at: Path) -> Iterator[Path]:
    at.mkdir()
    if os.geteuid() != 0:
        raise CannotBe("a small disk is a tmpfs, which only root may mount")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m,mode=755", "tmpfs", str(at)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode != 0:
        raise CannotBe(f"a small disk cannot be mounted: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def _false_clock(clock: Path) -> dict[str, str]:
    """The environment of a process whose wall clock is off by what stands in a file."""
    try:
        package = unpacked("faketime", ("libfaketime",))
    except ToolsUnavailable as why:
        raise CannotBe(f"no libfaketime: {why}") from why
    (library,) = package.glob("usr/lib/*/faketime/libfaketime.so.1")
    # The library takes the deadline of Python's sleep, by the monotonic clock, for one by the wall
    # clock and refuses it; a wait of select has no deadline.
    patch = clock.with_name("python") / "sitecustomize.py"
    patch.parent.mkdir(exist_ok=True)
    patch.write_text(
        "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n"
    )
    return {
        "PYTHONPATH": os.pathsep.join((str(patch.parent), os.environ.get("PYTHONPATH", ""))),
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
