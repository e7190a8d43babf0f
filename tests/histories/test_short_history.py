"""Sixteen clients, a migration and an import while the service is killed, also in recovery."""

from pathlib import Path

import pytest
from tests.histories.rounds import RoundSize, Run

pytestmark = [pytest.mark.real, pytest.mark.slow]


async def test_a_short_history_has_no_violation(tmp_path: Path) -> None:
    run = Run(tmp_path, seed=1, size=RoundSize(import_rows=80, responses=(40, 80)))
    try:
        await run.start()
        report = await run.run_round(1, ("stop", "kill in recovery"))
        assert report.violations == []
    finally:
        await run.close()
    assert report.versions > 80
