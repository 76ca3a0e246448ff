"""What all tests share: a quiet log, so that a failure shows the test and not the program's chatter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from tests.farm import process


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="run the tests that are marked `long`, too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes more than some 20 s; run by ./test --faults alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--faults"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes long: ./test --faults runs it"))


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
