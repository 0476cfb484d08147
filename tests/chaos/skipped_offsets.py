"""Alerts that a group never reads: retention deletes them first, or ``latest`` begins behind."""

from filter_process import FilterProcess
from stage import MIB_40, PARTITIONS, Stage, consumer

_OVERTAKEN = (0, 1)  # partitions
_LEFT = 5  # alerts that retention leaves in each of them
# A worker that lags has read little ahead.
_SHORT_QUEUE = {"queued_max_messages_kbytes": 1024, "fetch_max_bytes": 1_000_000}
_SOON_MS = 2000  # a new topic of a pattern is found


def overtaken(stage: Stage) -> None:
    """Retention deletes what the group has not read: while a worker lags, and while none is there.

    What has no answer must be as much as the workers counted.
    """
    stage.settings |= consumer(**_SHORT_QUEUE)
    worker = stage.start()
    skipped = 0
    for turn in range(stage.rounds):
        if away := turn % 2 == 1:
            stage.wait_committed()
            stage.stop(worker)
        stage.send(60 * PARTITIONS)
        stage.feed.flush()
        with stage.fault():
            doomed = [key for each in _OVERTAKEN for key in stage.keys_in(each)[:-_LEFT]]
            for each in _OVERTAKEN:
                stage.broker.delete_before(stage.topic, each, len(stage.keys_in(each)) - _LEFT)
        before = 0 if away else _skipped(stage, worker, "retention")
        worker = stage.start() if away else worker
        stage.wait_for([key for key in stage.due if key not in doomed])
        stage.wait_committed()
        skipped += _account(stage, doomed, _skipped(stage, worker, "retention") - before)
    stage.remarks.append(f"{skipped} deleted unread and counted")


def new_topics(stage: Stage) -> None:
    """Topics come that a pattern names, with alerts in them; ``latest`` would skip these.

    It is refused with a pattern; with a name, what it skips is counted.
    """
    early = stage.send(40)
    stage.feed.flush()
    latest = {"auto_offset_reset": "latest"}
    worker = stage.start(consumer(**latest))
    stage.wait_committed()
    skipped = _account(stage, early, _skipped(stage, worker, "latest"))
    stage.wait_for(stage.send(40))
    stage.stop(worker)
    stage.settings["alerts.topics"] = f'["^{stage.topic}.*"]'
    refused = stage.start(consumer(**latest), ready=False)
    code = stage.wait_ended(refused)
    if code == 0 or "--reset-offsets --to-latest" not in refused.log.read_text():
        stage.wrong.append(f"latest with a pattern: exit code {code}, which names no mend")
    stage.start(consumer(topic_metadata_refresh_interval_ms=_SOON_MS))
    for turn in range(stage.rounds):
        name = f"{stage.topic}-night-{turn}"
        with stage.fault():
            stage.broker.topic(PARTITIONS, name=name, max_message_bytes=MIB_40)
            stage.more_topics.append(name)
            stage.send(40, topic=name)
        stage.send(20)
        stage.wait_all()
    stage.remarks.append(f"{skipped} skipped by latest and counted")


def _skipped(stage: Stage, worker: FilterProcess, reason: str) -> int:
    """How many a worker says that it stepped over."""
    labels = f'{{reason="{reason}",topic="{stage.topic}"}}'
    return round(worker.metric(f"streamfilter_skipped_total{labels}"))


def _account(stage: Stage, doomed: list[bytes], counted: int) -> int:
    """Hold those that have no answer against what was counted; the audit looks for none of them."""
    unread = [key for key in doomed if stage.due[key]]

    def without_answer() -> list[bytes]:
        answered = stage.watch.keys
        return [key for key in unread if key not in answered]

    stage.wait_until(lambda: len(without_answer()) <= counted, f"all answers but {counted}")
    left = without_answer()
    if len(left) != counted or not left:
        stage.wrong.append(f"{len(left)} without an answer, {counted} counted as skipped")
    stage.leave_unread(left)
    return len(left)
