"""Processes that answer calls: in any order, with errors, killed at any moment, or not to be had at all."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from processes import environment, until

from feedd import errors, pool

_prepared: list[str] = []


def prepare(word: str) -> None:
    _prepared.append(word)


def echo(value: object) -> tuple[object, list[str], int]:
    return value, _prepared, os.getpid()


def refuse(value: str) -> None:
    raise errors.OutputError(value)


def die(_value: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def two() -> Iterator[pool.Pool]:
    made = pool.Pool(2, prepare, "once")
    yield made
    made.close()
    assert multiprocessing.active_children() == []


def test_every_call_is_answered_by_a_prepared_process(two: pool.Pool) -> None:
    futures = [two.submit(echo, number) for number in range(200)]
    answers = [future.result() for future in futures]
    assert [(value, words) for value, words, _ in answers] == [(number, ["once"]) for number in range(200)]
    assert os.getpid() not in {pid for *_, pid in answers}


def test_arguments_and_results_may_be_larger_than_any_buffer(two: pool.Pool) -> None:
    large = b"x" * 5_000_000
    assert all(f.result()[0] == large for f in [two.submit(echo, large) for _ in range(8)])


def test_an_error_comes_back_and_says_where_it_was_raised(two: pool.Pool) -> None:
    with pytest.raises(errors.OutputError, match="disk full") as caught:
        two.submit(refuse, "disk full").result()
    assert str(caught.value) == "disk full"
    assert "in refuse\n    raise errors.OutputError(value)" in caught.value.__notes__[0]
    assert two.submit(echo, 1).result()[0] == 1


def test_a_process_that_dies_fails_its_call_and_those_that_would_follow(two: pool.Pool) -> None:
    with pytest.raises(errors.WorkerError, match="a worker process was ended"):
        two.submit(die, None).result()
    for _ in range(2):  # the other still answers: whoever asks decides what is left to do
        two.submit(echo, 1).exception()
    with pytest.raises(errors.WorkerError):
        two.submit(die, None).result()
        two.submit(die, None).result()
    assert isinstance(two.submit(echo, 1).exception(), errors.WorkerError)


@pytest.mark.parametrize("number", range(8))
def test_a_process_that_is_killed_while_the_pool_starts_hangs_nobody(number: int) -> None:
    def kill_the_first() -> None:
        child = until(multiprocessing.active_children, "one has begun")[0]
        for _ in range(number * 50):
            child.is_alive()  # some microseconds more
        child.kill()

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    made = pool.Pool(3, prepare, "once")
    futures = [made.submit(echo, 1) for _ in range(100)]
    killer.join()
    outcomes = [future.exception() for future in futures]
    made.close()
    assert {type(error) for error in outcomes} <= {type(None), errors.WorkerError}
    assert multiprocessing.active_children() == []


def test_what_was_not_begun_is_not_done_at_the_close() -> None:
    made = pool.Pool(1, prepare, "once")
    futures = [made.submit(echo, number) for number in range(1_000)]
    made.close()
    assert futures[-1].cancelled()
    assert all(future.cancelled() or future.result()[0] == number for number, future in enumerate(futures))


def test_no_process_can_be_started() -> None:
    said = subprocess.run(
        [sys.executable, "-c", f"""
import resource
from feedd import errors, pool
def prepare(value): pass
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (8, {resource.getrlimit(resource.RLIMIT_NOFILE)[1]}))
    try:
        pool.Pool(50, prepare, 1)
    except errors.WorkerError as error:
        print(error)
"""],
        env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert said.stdout == "no worker process can be started: too many open files\n", said.stderr
