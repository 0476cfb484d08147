"""Whether the filter keeps up: alerts in and out, latency, lag, verdicts, what was put aside."""

from boards.panel import Board, Kind, Panel, Query, Unit, Variable, quantiles

_HERE = 'instance=~"$instance"'
_SURVEY = f'{_HERE},survey=~"$survey"'


_OURS = "and on (instance, job) streamfilter_build_info"
"""Others have processes too."""


def _sum(gauge: str) -> str:
    return f"sum by (instance) ({gauge}{{{_HERE}}})"


def _rate(metric: str, by: str = "", only: str = _HERE) -> str:
    """Of a counter over all workers chosen."""
    over = f"sum by ({by}) " if by else "sum"
    return f"{over}(rate({metric}{{{only}}}[$__rate_interval]))"


def _in_time(since: str) -> Query:
    return Query(f"1 - streamfilter:late_{since}:ratio_rate5m", f"in time since the {since}")


_NOW = (
    Panel(
        title="Alerts firing",
        text="Alerts of the rules file that are on now. Anything but 0: follow the runbook, in the "
        "order of the list of alerts.",
        queries=(
            Query('count(ALERTS{alertname=~"Streamfilter.*",alertstate="firing"}) or vector(0)'),
        ),
        unit=Unit.COUNT,
        kind=Kind.NUMBER,
        width=4,
        height=4,
        limits=(1, 1),
        runbook="",
    ),
    Panel(
        title="Workers ready",
        text="Workers that are warm and have partitions. Fewer than were started: look at "
        "/readyz of the one that is missing.",
        queries=(Query(f"sum(streamfilter_ready{{{_HERE}}})"),),
        unit=Unit.COUNT,
        kind=Kind.NUMBER,
        width=4,
        height=4,
        runbook="StreamfilterWorkerUnready",
    ),
    Panel(
        title="Alerts a second",
        text="Messages read from Kafka, all workers together.",
        queries=(Query(_rate("streamfilter_messages_total")),),
        unit=Unit.PER_SECOND,
        kind=Kind.NUMBER,
        width=4,
        height=4,
        runbook="StreamfilterNoAlerts",
    ),
    Panel(
        title="Waiting in Kafka",
        text="Messages after the last commit. It rises in bursts and must fall between them.",
        queries=(Query('sum(streamfilter:consumer_lag:sum{of="alerts"})'),),
        unit=Unit.COUNT,
        kind=Kind.NUMBER,
        width=4,
        height=4,
        limits=(1000, 10000),
        runbook="StreamfilterLagGrows",
    ),
    Panel(
        title="In time since the message",
        text="Share of the last five minutes' alerts that left within the objective (1 s unless "
        "set otherwise) after Kafka had them. The objective is 98 %.",
        queries=(_in_time("message"),),
        unit=Unit.SHARE,
        kind=Kind.NUMBER,
        width=4,
        height=4,
        runbook="StreamfilterLateMessageFast",
    ),
    Panel(
        title="In time since the light",
        text="The same from the end of the exposure on (120 s unless set otherwise): most of it "
        "is the survey's own processing.",
        queries=(_in_time("light"),),
        unit=Unit.SHARE,
        kind=Kind.NUMBER,
        width=4,
        height=4,
        runbook="StreamfilterLateLightFast",
    ),
)

_FLOW = (
    Panel(
        title="Alerts in and out",
        text="Messages read, and messages that the broker acknowledged, by output. Annotations and "
        "rejected together follow what is read; a gap that stays means that something is stuck.",
        queries=(
            Query(_rate("streamfilter_messages_total"), "read"),
            Query(_rate("streamfilter_outputs_total", "output"), "{{output}}"),
        ),
        unit=Unit.PER_SECOND,
        width=12,
        runbook="StreamfilterLagGrows",
    ),
    Panel(
        title="Lag by topic",
        text="Messages after the last commit. Rising for long: more comes than is judged.",
        queries=(Query("streamfilter:consumer_lag:sum", "{{of}} {{topic}}"),),
        unit=Unit.COUNT,
        width=12,
        runbook="StreamfilterLagGrows",
    ),
    Panel(
        title="Rejected by reason",
        text="Messages that could not be used, set aside with their bytes. A new schema or a "
        "changed field of the survey shows here first.",
        queries=(Query(_rate("streamfilter_rejected_total", "reason") + " > 0", "{{reason}}"),),
        unit=Unit.PER_SECOND,
        kind=Kind.STACK,
        runbook="StreamfilterRejects",
    ),
    Panel(
        title="Shed",
        text='Alerts published unjudged because they were too old (`flow.overload = "shed"`). '
        "Always 0 where that is off.",
        queries=(Query(_rate("streamfilter_shed_total", "survey", _SURVEY), "{{survey}}"),),
        unit=Unit.PER_SECOND,
        runbook="StreamfilterSheds",
    ),
    Panel(
        title="Age when read",
        text="How old alerts are when a worker reads them, by Kafka's timestamp. Seconds mean a "
        "backlog, or a producer whose clock is behind.",
        queries=quantiles(f"streamfilter_age_seconds_bucket{{{_HERE}}}"),
        unit=Unit.SECONDS,
        runbook="StreamfilterSheds",
    ),
)

_SCHEMAS = (
    Panel(
        title="Questions for schemas",
        text="Asked of the registry, by their end: found, refused (it has none of that id), "
        "unavailable (no answer). None for hours is normal: answers are kept.",
        queries=(
            Query(
                f"sum by (result) (increase(streamfilter_schema_fetches_total{{{_HERE}}}[5m]))",
                "{{result}}",
            ),
        ),
        unit=Unit.COUNT,
        runbook="StreamfilterSchemaWaits",
    ),
    Panel(
        title="Partitions that wait for a schema",
        text="Their alerts wait up to schemas.wait_s and are then rejected. Always 0 where the "
        "registry answers.",
        queries=(Query(_sum("streamfilter_held_partitions"), "{{instance}}"),),
        unit=Unit.COUNT,
        runbook="StreamfilterSchemaWaits",
    ),
    Panel(
        title="Changes of schemas",
        text="Writer schemas and wire forms that were new in a topic, by what they change of the "
        "fields that are used, in the time chosen at the top.",
        queries=(
            Query(
                "sum by (change) "
                f"(increase(streamfilter_schema_changes_total{{{_SURVEY}}}[$__range]))",
                "{{change}}",
            ),
        ),
        unit=Unit.COUNT,
        runbook="StreamfilterSchemaChanged",
    ),
)

_LATENCY = (
    Panel(
        title="Since the message",
        text="From Kafka's timestamp of the alert to the last acknowledged output: our own part.",
        queries=quantiles(
            f'streamfilter_latency_seconds_bucket{{{_HERE},since="message"}}', of=(0.5, 0.9, 0.98)
        ),
        unit=Unit.SECONDS,
        runbook="StreamfilterLateMessageFast",
    ),
    Panel(
        title="Since the light",
        text="From the end of the exposure to the last acknowledged output: what downstream feels.",
        queries=quantiles(
            f'streamfilter_latency_seconds_bucket{{{_HERE},since="light"}}', of=(0.5, 0.9, 0.98)
        ),
        unit=Unit.SECONDS,
        runbook="StreamfilterLateLightFast",
    ),
    Panel(
        title="Late, of the objective",
        text="Share of alerts beyond the objective's limits. 2 % may be late in a month; 29 % in "
        "an hour pages.",
        queries=tuple(
            Query(f"streamfilter:late_{since}:ratio_rate{window}", f"since the {since}, {window}")
            for since in ("message", "light")
            for window in ("5m", "1h")
        ),
        unit=Unit.SHARE,
        runbook="StreamfilterLateMessageFast",
    ),
    Panel(
        title="Stages, median",
        text="Time in each stage: decode, normalise, queue (waiting for company and the network), "
        "infer (the network), conclude, produce (until the broker acknowledges).",
        queries=quantiles(f"streamfilter_stage_seconds_bucket{{{_HERE}}}", "stage", of=(0.5,)),
        unit=Unit.SECONDS,
        width=12,
        runbook="StreamfilterLateMessageFast",
    ),
    Panel(
        title="Stages, slowest hundredth",
        text="As the medians. queue or infer long: the network is too slow. produce long: the "
        "broker is. decode long: a schema registry that does not answer.",
        queries=quantiles(f"streamfilter_stage_seconds_bucket{{{_HERE}}}", "stage", of=(0.99,)),
        unit=Unit.SECONDS,
        width=12,
        runbook="StreamfilterLateMessageFast",
    ),
)

_VERDICTS = (
    Panel(
        title="Verdicts",
        text="Alerts by verdict: clean, suspect, contaminated, and not_evaluated (no judgement).",
        queries=(Query(_rate("streamfilter_alerts_total", "verdict", _SURVEY), "{{verdict}}"),),
        unit=Unit.PER_SECOND,
        kind=Kind.STACK,
        runbook="StreamfilterContaminationJumps",
    ),
    Panel(
        title="Contaminated by class",
        text="Which class decided: CR cosmic rays, HCL and DCL hot and dead columns, HP and DP hot "
        "and dead pixels, TRL trails, SAT saturated, RES residuals of the subtraction.",
        queries=(
            Query(
                _rate("streamfilter_alerts_total", "contaminant", f'{_SURVEY},contaminant!="none"'),
                "{{contaminant}}",
            ),
        ),
        unit=Unit.PER_SECOND,
        kind=Kind.STACK,
        runbook="StreamfilterContaminationJumps",
    ),
    Panel(
        title="Share of each class",
        text="Share of the last quarter of an hour's alerts. A class that jumps: a detector went "
        "bad, or the reduction changed.",
        queries=(
            Query(
                'streamfilter:contaminated:ratio_rate15m{survey=~"$survey"}',
                "{{survey}} {{contaminant}}",
            ),
        ),
        unit=Unit.SHARE,
        runbook="StreamfilterContaminationJumps",
    ),
    Panel(
        title="What becomes of them",
        text="Alerts by action: keep, flag, drop. drop goes to the topic of contaminated alerts.",
        queries=(Query(_rate("streamfilter_alerts_total", "action", _SURVEY), "{{action}}"),),
        unit=Unit.PER_SECOND,
        kind=Kind.STACK,
        width=12,
        runbook="StreamfilterContaminationJumps",
    ),
    Panel(
        title="Stamps not evaluated",
        text="Stamps that the network did not see, and why: missing, too small, too large, without "
        "data or without variation. Such an alert is kept unjudged.",
        queries=(
            Query(
                _rate("streamfilter_stamps_not_evaluated_total", "survey, reason", _SURVEY),
                "{{survey}} {{reason}}",
            ),
        ),
        unit=Unit.PER_SECOND,
        width=12,
        runbook="StreamfilterNotEvaluated",
    ),
)

_BROKERS = (
    Panel(
        title="Round trip to brokers",
        text="Mean time of a request, by client. The consumer's holds the wait for new messages.",
        queries=(
            Query(
                f"max by (client, broker) (streamfilter_broker_round_trip_seconds{{{_HERE}}})",
                "{{client}} {{broker}}",
            ),
        ),
        unit=Unit.SECONDS, runbook="StreamfilterBrokersDown",
    ),
    Panel(
        title="In flight",
        text="Messages read and not settled. Level at the bound of flow.max_in_flight: reading "
        "pauses, the network or the broker is too slow.",
        queries=(
            Query(_sum("streamfilter_in_flight_messages"), "{{instance}}"),
        ),
        unit=Unit.COUNT, runbook="StreamfilterStuck",
    ),
    Panel(
        title="Partitions and rebalances",
        text="Partitions of each worker, and how often they were dealt anew in 10 minutes. "
        "Workers that come and go hold all others up.",
        queries=(
            Query(_sum("streamfilter_assigned_partitions"), "{{instance}}"),
            Query(f"sum(increase(streamfilter_rebalances_total{{{_HERE}}}[10m]))", "rebalances"),
        ),
        unit=Unit.COUNT, runbook="StreamfilterLateMessageSlow",
    ),
    Panel(
        title="Transactions",
        text="Of outputs and offsets together, where delivery.guarantee asks so, by their end. "
        "aborted ones are tried again; many of them hold alerts up.",
        queries=(Query(_rate("streamfilter_transactions_total", "result"), "{{result}}"),),
        unit=Unit.PER_SECOND,
        runbook="StreamfilterTransactionsAbort",
    ),
    Panel(
        title="Time of a transaction",
        text="From its begin to its commit. Readers see an alert only after the commit, so this "
        "is part of the latency. Empty where outputs go out by themselves.",
        queries=quantiles(f"streamfilter_transaction_seconds_bucket{{{_HERE}}}"),
        unit=Unit.SECONDS,
        runbook="StreamfilterTransactionsAbort",
    ),
    Panel(
        title="Refused outputs",
        text="Messages that the broker did not take for good. Always 0; else rights, a missing "
        "topic, or its max.message.bytes.",
        queries=(Query(_rate("streamfilter_output_failures_total", "output"), "{{output}}"),),
        unit=Unit.PER_SECOND, runbook="StreamfilterOutputRefused",
    ),
    Panel(
        title="Messages in the clients",
        text="Fetched and not yet read (consumer), sent and not yet acknowledged (producer). A "
        "producer's that climbs: the broker takes less than there is.",
        queries=(
            Query(
                f"sum by (client) (streamfilter_client_queued_messages{{{_HERE}}})", "{{client}}"
            ),
        ),
        unit=Unit.COUNT,
        runbook="StreamfilterStuck",
    ),
    Panel(
        title="Errors of brokers",
        text="Requests and answers that failed, by client and broker. Some at a broker's restart "
        "are normal.",
        queries=(
            Query(
                "sum by (client, broker) "
                f"(rate(streamfilter_broker_errors_total{{{_HERE}}}[$__rate_interval]))",
                "{{client}} {{broker}}",
            ),
        ),
        unit=Unit.PER_SECOND,
        runbook="StreamfilterBrokersDown",
    ),
    Panel(
        title="Processor cores of workers",
        text="Cores in use by each process. All of the machine's: the network is the bound, add a "
        "machine or a faster engine.",
        queries=(
            Query(
                f"rate(process_cpu_seconds_total{{{_HERE}}}[$__rate_interval]) {_OURS}",
                "{{instance}}",
            ),
        ),
        unit=Unit.COUNT, runbook="StreamfilterLagGrows",
    ),
)  # fmt: skip

BOARD = Board(
    name="night",
    title="streamfilter: night",
    text="Whether the filter keeps up, from alerts in to verdicts out.",
    variables=(
        Variable("instance", "streamfilter_build_info"),
        Variable("survey", "streamfilter_shed_total"),
    ),
    rows=(
        ("Now", _NOW),
        ("Alerts in and out", _FLOW),
        ("Schemas of the survey", _SCHEMAS),
        ("Latency", _LATENCY),
        ("Verdicts", _VERDICTS),
        ("Brokers and workers", _BROKERS),
    ),
)
