"""Settings under which exactly-once could not hold do not start, and say why."""

from typing import Any

import pytest

from streamfilter.config import Settings
from streamfilter.errors import ConfigurationInvalid
from streamfilter.service.assembly.delivery import checked_delivery

EXACT = {"delivery": {"guarantee": "exactly-once"}}


def checked(**sections: Any) -> None:
    checked_delivery(Settings.model_validate(sections))


@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        ({"output_bootstrap": "b:9092"}, r"kafka\.output_bootstrap: .*no transaction spans two"),
        ({"producer": {"bootstrap.servers": "b:9092"}}, "no transaction spans two"),
        ({"producer": {"metadata.broker.list": "b:9092"}}, "no transaction spans two"),
        ({"consumer": {"bootstrap.servers": "b:9092"}}, r"kafka\.consumer: brokers of its own"),
        ({"consumer": {"isolation.level": "read_uncommitted"}}, "must be .read_committed."),
        ({"settings": {"isolation.level": "read_uncommitted"}}, "must be .read_committed."),
    ],
)
def test_what_no_transaction_can_do_is_refused(kafka: dict[str, Any], said: str) -> None:
    """The message names the key and the way out; at least once the same may be."""
    checked(kafka=kafka)
    with pytest.raises(ConfigurationInvalid, match=said):
        checked(kafka=kafka, **EXACT)


@pytest.mark.parametrize("key", ["transactional.id", "transaction.timeout.ms"])
@pytest.mark.parametrize("delivery", [{}, EXACT])
def test_transactions_are_set_in_one_place(key: str, delivery: dict[str, Any]) -> None:
    """librdkafka's own names are refused for ours."""
    with pytest.raises(ConfigurationInvalid, match=r"is set by delivery\."):
        checked(kafka={"producer": {key: "1"}}, **delivery)


def test_what_can_be_is_taken() -> None:
    """With a name of its own, and security settings of both clients."""
    kafka = {"settings": {"security.protocol": "SASL_SSL"}}
    checked(kafka=kafka, delivery={"guarantee": "exactly-once", "transactional_id": "w0"})
