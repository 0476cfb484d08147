"""Members of a group that ought not to be in it: under a name that is taken, or set otherwise."""

from collections.abc import Mapping

from filter_process import FilterProcess
from stage import Stage, consumer

_NAME = "filter-0"
_MEND = "give each worker its own"
_GAUGE = "streamfilter_group_configurations"
_SESSION_MS = 10_000  # so long the group keeps a member that was killed


def take_name(stage: Stage) -> None:
    """A second worker has the first one's ``group.instance.id``: it takes the first one's place."""
    named = consumer(group_instance_id=_NAME, session_timeout_ms=_SESSION_MS)
    worker = stage.start(named)
    with stage.flowing(per_s=25):
        for _ in range(stage.rounds):
            stage.wait_answered(len(stage.watch.keys) + 40)
            second = _about_to_join(stage, named)
            with stage.fault():
                _ends_for_its_name(stage, worker)
            worker = second.wait_ready()


def keep_name(stage: Stage) -> None:
    """The same by the newer protocol of groups, where the second worker is refused."""
    named = consumer(group_instance_id=_NAME, group_protocol="consumer")
    stage.start(named)
    with stage.flowing(per_s=25):
        for _ in range(stage.rounds):
            stage.wait_answered(len(stage.watch.keys) + 40)
            with stage.fault():
                _ends_for_its_name(stage, stage.start(named, ready=False))


def _about_to_join(stage: Stage, overrides: Mapping[str, str]) -> FilterProcess:
    """A worker that has taken its time to start: what comes of it comes now."""
    worker = stage.start(overrides, ready=False)
    stage.wait_until(lambda: _said(worker, "warm") == 1, f"a warm {worker.log.name}")
    return worker


def _ends_for_its_name(stage: Stage, worker: FilterProcess) -> None:
    """Wait for a worker's end; it names what mends it."""
    if (code := stage.wait_ended(worker)) != 1 or _MEND not in worker.log.read_text():
        stage.wrong.append(f"{worker.log.name}: exit code {code}, which names no mend")


def differ(stage: Stage) -> None:
    """A worker with other priors joins the group, and leaves or is killed; all say so meanwhile."""
    stage.settings |= consumer(session_timeout_ms=_SESSION_MS, statistics_interval_ms=500)
    alike = [stage.start(), stage.start()]
    _wait_configurations(stage, alike, 1)
    with stage.flowing(per_s=25):
        for turn in range(stage.rounds):
            stranger = _about_to_join(stage, {"surveys.ztf": "{priors = {CR = 1e-6}}"})
            with stage.fault():
                stranger.wait_ready()
            _wait_configurations(stage, [*alike, stranger], 2)
            silent = [w.log.name for w in (*alike, stranger) if not _said(w, "members differ")]
            stage.wait_answered(len(stage.watch.keys) + 40)
            with stage.fault():
                stranger.kill() if turn % 2 else stage.stop(stranger)
            _wait_configurations(stage, alike, 1)
            silent += [each.log.name for each in alike if _said(each, "members alike") <= turn]
            if silent:
                stage.wrong.append(f"not said by {', '.join(silent)}")


def _wait_configurations(stage: Stage, workers: list[FilterProcess], count: int) -> None:
    """Return once all of them show so many configurations in the group."""
    stage.wait_until(
        lambda: all(each.metric(_GAUGE) == count for each in workers), f"{count} configurations"
    )


def _said(worker: FilterProcess, event: str) -> int:
    """How often an event stands in its log."""
    return sum(each["event"] == event for each in worker.events())
