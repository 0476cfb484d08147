"""Fits our defaults of librdkafka's properties to the values that an operator gives.

Some properties bound each other: a fetch must hold a whole message, say. Where a given value breaks
such a bound, a default changes; where two given values break it, the settings are refused.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil

from streamfilter.errors import ConfigurationInvalid

Scalar = str | int | float | bool
Properties = Mapping[str, Scalar]
"""The settings of a client, by librdkafka's names."""


@dataclass(frozen=True, slots=True)
class Order:
    """A bound between two properties: ``larger * unit`` is at least ``smaller + margin``."""

    larger: str
    smaller: str
    margin: int = 0
    unit: int = 1
    share: int = 1
    """A default of ``smaller`` is lowered to the bound divided by this number."""
    none: float | None = None
    """The value that switches the bound off, for either property."""
    classic: bool = False
    """Whether the bound holds only for the classic group protocol."""

    def holds(self, values: Mapping[str, float]) -> bool:
        """Returns whether these values keep the bound; a property without a value keeps it."""
        larger, smaller = values.get(self.larger), values.get(self.smaller)
        if larger is None or smaller is None or self.none in (larger, smaller):
            return True
        return larger * self.unit >= smaller + self.margin

    def raised(self, values: Mapping[str, float]) -> int:
        """Returns the least value of ``larger`` that keeps the bound."""
        return ceil((values[self.smaller] + self.margin) / self.unit)

    def lowered(self, values: Mapping[str, float]) -> int:
        """Returns the value of ``smaller`` when its default gives way."""
        return int((values[self.larger] * self.unit - self.margin) // self.share)


@dataclass(frozen=True, slots=True)
class Bound:
    """The values of a property that a delivery guarantee allows."""

    key: str
    least: int
    most: int
    why: str


@dataclass(frozen=True, slots=True)
class Kind:
    """The bounds of one kind of client."""

    name: str
    orders: tuple[Order, ...]
    bounds: tuple[Bound, ...] = ()
    of_brokers: Mapping[str, str] = field(default_factory=dict)
    """Properties that ``group.protocol = "consumer"`` forbids, each with its replacement."""
    ours: Mapping[str, str] = field(default_factory=dict)
    """Properties whose default comes from a setting of ours, with its name; they never change."""


# librdkafka's own defaults (2.x, CONFIGURATION.md) of all that stands in an order.
_LIBRDKAFKA: Mapping[str, float] = {
    "message.max.bytes": 1_000_000,
    "fetch.max.bytes": 52_428_800,
    "receive.message.max.bytes": 100_000_000,
    "session.timeout.ms": 45_000,
    "heartbeat.interval.ms": 3_000,
    "max.poll.interval.ms": 300_000,
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 10_000,
    "retry.backoff.ms": 100,
    "retry.backoff.max.ms": 1_000,
    "linger.ms": 5,
    "delivery.timeout.ms": 300_000,
    "queue.buffering.max.kbytes": 1_048_576,
}
_ALIASES: Mapping[str, str] = {
    "message.timeout.ms": "delivery.timeout.ms",
    "queue.buffering.max.ms": "linger.ms",
    "max.in.flight": "max.in.flight.requests.per.connection",
    "message.send.max.retries": "retries",
    "compression.codec": "compression.type",
    "request.required.acks": "acks",
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
}
_BACKOFF = (Order("reconnect.backoff.max.ms", "reconnect.backoff.ms"),)
_NOT_DOUBLED = "so that no output is doubled when it is sent again"

CLIENT = Kind("client", _BACKOFF)
CONSUMER = Kind(
    "consumer",
    (
        Order("fetch.max.bytes", "message.max.bytes"),
        Order("receive.message.max.bytes", "fetch.max.bytes", margin=512),
        Order("max.poll.interval.ms", "session.timeout.ms", classic=True),
        # librdkafka takes any, but a heartbeat that comes too late ends the session.
        Order("session.timeout.ms", "heartbeat.interval.ms", margin=1, share=3, classic=True),
        *_BACKOFF,
    ),
    of_brokers={
        "session.timeout.ms": "group.consumer.session.timeout.ms of the brokers",
        "heartbeat.interval.ms": "group.consumer.heartbeat.interval.ms of the brokers",
        "partition.assignment.strategy": "'group.remote.assignor'",
        "group.protocol.type": "nothing",
    },
)
_SENDING = (
    Order("delivery.timeout.ms", "linger.ms", margin=1, none=0),
    # An output that is larger than the whole queue would wait for room for ever.
    Order("queue.buffering.max.kbytes", "message.max.bytes", unit=1024),
    Order("retry.backoff.max.ms", "retry.backoff.ms"),
    *_BACKOFF,
)
_IDEMPOTENT = (
    Bound("max.in.flight.requests.per.connection", 1, 5, _NOT_DOUBLED),
    Bound("retries", 1, 2**31 - 1, _NOT_DOUBLED),
)
PRODUCER = Kind("producer", _SENDING, _IDEMPOTENT)
TRANSACTIONS = Kind(
    "producer",
    (
        # No output may be tried for longer than its transaction lives, nor a broker waited for.
        Order("transaction.timeout.ms", "delivery.timeout.ms", none=0),
        Order("transaction.timeout.ms", "socket.timeout.ms"),
        *_SENDING,
    ),
    _IDEMPOTENT,
    ours={"transaction.timeout.ms": "delivery.transaction_timeout_s"},
)


def fitted(defaults: Properties, given: Properties, kind: Kind) -> dict[str, Scalar]:
    """Returns the defaults that work together with the given values.

    Where a default and a given value break a bound, the default is raised or lowered; this includes
    librdkafka's own defaults. A given value is never changed.

    Returns
    -------
    dict
        The values to set beside ``given``; it has no property that ``given`` has.

    Raises
    ------
    ConfigurationInvalid
        Two given values break a bound, or one breaks a guarantee. The message names them.
    """
    # Of a property and its alias the one that was given last counts, as at librdkafka.
    set_as = {_ALIASES.get(key, key): key for key in given}
    classic = str(given.get("group.protocol", "classic")).lower() != "consumer"
    if not classic:
        _refuse_of_brokers(given, kind)
    for bound in kind.bounds:
        _refuse_beyond(bound, set_as, given)
    kept = {key: value for key, value in defaults.items() if key not in set_as}
    asked = _numbers({name: given[key] for name, key in set_as.items()})
    values = {**_LIBRDKAFKA, **_numbers(kept), **asked}
    # By property the one that was given and decides it: itself, or another that it was fitted to.
    decided = {name: set_as[name] for name in asked} | dict(kind.ours)
    orders = [each for each in kind.orders if classic or not each.classic]
    changed = dict[str, Scalar]()
    for _ in orders:  # a pass that finds something decides one more
        for order in orders:
            if not order.holds(values):
                name = _giving_way(kind.name, order, values, decided)
                changed[name] = int(values[name])
    return kept | changed


def _giving_way(kind: str, order: Order, values: dict[str, float], decided: dict[str, str]) -> str:
    """Changes the property of a broken bound that nobody decided, and returns its name.

    Raises
    ------
    ConfigurationInvalid
        Both properties were decided, or the smaller one would be negative.
    """
    larger, smaller = order.larger, order.smaller
    if larger not in decided:
        values[larger] = order.raised(values)
        decided[larger] = decided.get(smaller, smaller)
        return larger
    if smaller in decided or order.lowered(values) < 0:
        excluding = _excluding(order, values, decided)
        raise ConfigurationInvalid(f"Kafka {kind} settings: {excluding}")
    values[smaller] = order.lowered(values)
    decided[smaller] = decided[larger]
    return smaller


def _excluding(order: Order, values: Mapping[str, float], decided: Mapping[str, str]) -> str:
    """Returns words for two values that break a bound, by the names under which they were set."""

    def said(name: str) -> str:
        by = decided.get(name, name)
        return f"{by!r}" if by == name else f"{by!r} (that is {name!r} {values[name]:.0f})"

    first, second = (decided.get(name, name) for name in (order.larger, order.smaller))
    least = order.raised(values)
    now = values[order.larger]
    return (
        f"{said(order.larger)} and {said(order.smaller)} exclude each other: "
        f"{order.larger} is {now:.0f}, but must be at least {least} for {order.smaller} "
        f"{values[order.smaller]:.0f}; raise {first}, or lower or remove {second}"
    )


def _refuse_of_brokers(given: Properties, kind: Kind) -> None:
    for key, instead in kind.of_brokers.items():
        if key in given:
            raise ConfigurationInvalid(
                f"Kafka {kind.name} settings: {key!r} is {given[key]!r}, but 'group.protocol' is "
                f"'consumer', where brokers decide it; remove it (instead there is {instead})"
            )


def _refuse_beyond(bound: Bound, set_as: Mapping[str, str], given: Properties) -> None:
    if bound.key not in set_as:
        return
    key = set_as[bound.key]
    for found in _numbers({key: given[key]}).values():
        if not bound.least <= found <= bound.most:
            raise ConfigurationInvalid(
                f"Kafka producer settings: {key!r} is {found:.0f}, but must be from "
                f"{bound.least} to {bound.most}, {bound.why}; change or remove it"
            )


def _numbers(settings: Properties) -> dict[str, float]:
    """Returns the settings that are numbers, also as text; librdkafka refuses a wrong type."""
    found = {}
    for key, value in settings.items():
        with suppress(ValueError):
            found[key] = float(value)
    return found
