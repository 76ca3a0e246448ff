"""What all tests share: a quiet log, so that a failure shows the test and not the program's chatter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from tests.farm import process


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """Nothing below an error is written by what runs in this process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[process.Farm]:
    """Hosts of every behaviour, and 40 healthy ones, in a process of their own."""
    with process.running(tmp_path_factory.mktemp("farm") / "farm.log", hosts=40) as running:
        yield running
