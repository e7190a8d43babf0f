"""LogConsumer publisher: the contract, and one line per batch at level INFO."""

from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from spawn.adapters.publishers.log import LogPublisher
from spawn.ports.publishers import DeliveryOptions
from spawn.testing.publisher_contract import *  # noqa: F403 -- the suite is run as its users run it
from spawn.testing.publisher_contract import STORE_ID, an_entry

ALWAYS_THERE = True


class LogConsumer:
    """LogConsumer records as events."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    async def events(self, number: int) -> list[dict[str, Any]]:
        lines = [record for record in self.records if record["level"].name == "DEBUG"]
        assert len(lines) >= number
        words = [(record["message"].split(), record["extra"]["position"]) for record in lines]
        return [
            {
                "id": f"{position}@{STORE_ID}",
                "subject": f"projects/{key}",
                "sequence": f"{int(version):010d}",
            }
            for (_type, key, _word, version), position in words
        ]


@pytest.fixture
def consumer() -> Iterator[LogConsumer]:
    log = LogConsumer()
    handler = logger.add(lambda message: log.records.append(message.record), level="DEBUG")
    yield log
    logger.remove(handler)


@pytest.fixture
def publisher_url() -> str:
    return "log://"


async def test_one_line_summarizes_a_batch(consumer: LogConsumer) -> None:
    await LogPublisher(DeliveryOptions(name="log")).publish(
        [an_entry(1), an_entry(2, version=2), an_entry(3, "p2")]
    )
    lines = [record for record in consumer.records if record["level"].name == "INFO"]
    assert [line["message"] for line in lines] == ["3 domain events"]
    assert lines[0]["extra"]["types"] == {"project.created": 2, "project.amended": 1}
    assert (lines[0]["extra"]["first"], lines[0]["extra"]["last"]) == ("1.1", "1.3")
