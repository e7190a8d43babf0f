"""The examples of the page on the Python client run in order against a service."""

import re
from pathlib import Path
from typing import Any

from tests.http.conftest import Service, discard_access_log

__all__ = ["discard_access_log"]

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


def test_the_examples_of_the_page_run_in_order() -> None:
    examples = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(examples) >= 10
    service = Service().start()
    try:
        names: dict[str, Any] = {"url": service.url, "print": lambda *_: None}
        for example in examples:
            exec(compile(example, str(PAGE), "exec"), names)  # noqa: S102 - our own page
    finally:
        service.stop()
