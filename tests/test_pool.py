"""Processes that answer calls: in any order, with errors, killed at any moment, or not to be had at all."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

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
    for _ in range(2):
        assert isinstance(two.submit(die, None).exception(), errors.WorkerError)
    assert isinstance(two.submit(echo, 1).exception(), errors.WorkerError)


@pytest.mark.parametrize("length", [10, 1_000_000])  # of what a process is given: more than any buffer, too
@pytest.mark.parametrize("number", range(6))
def test_a_process_that_is_killed_while_the_pool_starts_hangs_nobody(number: int, length: int) -> None:
    resource_tracker.ensure_running()  # which is none of the pool's
    before = set(children())

    def kill_the_first() -> None:
        child = until(lambda: set(children()) - before, "one has begun").pop()
        for _ in range(number * 50):
            os.stat(f"/proc/{child}")  # some microseconds more
        os.kill(child, signal.SIGKILL)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    made = pool.Pool(3, prepare, "x" * length)
    killer.join()
    futures = [made.submit(echo, 1) for _ in range(100)]
    outcomes = {type(future.exception()) for future in futures}
    made.close()
    assert outcomes in ({type(None), errors.WorkerError}, {errors.WorkerError})
    assert multiprocessing.active_children() == []


def children() -> list[int]:
    """The worker processes of this one, from their very beginning."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"resource_tracker" not in stat.with_name("cmdline").read_bytes():
                found.append(int(stat.parent.name))
    return found


def test_signals_for_the_one_who_waits_pass_workers_by(tmp_path: Path) -> None:
    """Also the very first one, with which a helper of multiprocessing starts: hence a process of its own."""
    (tmp_path / "first.py").write_text("""
from pathlib import Path
from feedd import pool
def prepare(value): pass
def blocked(value): return Path("/proc/self/status").read_text().split("SigBlk:")[1].split()[0]
if __name__ == "__main__":
    made = pool.Pool(1, prepare, None)
    print(made.submit(blocked, None).result())
    made.close()
""")
    said = subprocess.run([sys.executable, tmp_path / "first.py"], env=environment(), capture_output=True, text=True)
    assert int(said.stdout, 16) == 1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1, said.stderr


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
