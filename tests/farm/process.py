"""The farm as a process of its own, for tests and benchmarks: started, told of days, asked for URLs and breaches."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.farm import addresses, breaches, log, places

AUTHORITY = Path(__file__).parent / "certs" / "authority.pem"  # in whose name the one good certificate is
_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 30.0


class Farm:
    """One that runs."""

    def __init__(self, process: subprocess.Popen[bytes], ports: places.Ports, log_path: Path, copies: int, hosts: int):
        self.pid, self.ports, self.log_path = process.pid, ports, log_path
        self._copies, self._hosts = copies, hosts

    def urls(self, *, trusted: bool = False) -> list[places.Case]:
        """Every link of the hosts with a behaviour, and the verdicts that are right."""
        return list(places.cases(self._copies, self.ports, trusted=trusted))

    def healthy_urls(self, links: int) -> list[str]:
        """So many links, spread over the healthy hosts."""
        return places.healthy_urls(self._hosts, links, self.ports.port)

    def set_day(self, day: int) -> None:
        """From now on it is this day of the simulated calendar."""
        self._control(f"/day/{day}")

    def entries(self) -> list[log.Entry]:
        """The log up to now."""
        self._control("/flush")
        return list(log.read(self.log_path))

    def breaches(self, *, gap_s: float = 1.0, tolerance_s: float = breaches.TOLERANCE_S) -> list[breaches.Breach]:
        """What was done against the policy up to now."""
        return breaches.find(self.entries(), gap_s=gap_s, tolerance_s=tolerance_s)

    def _control(self, path: str) -> None:
        connection = http.client.HTTPConnection(addresses.CONTROL, self.ports.port, timeout=_PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("GET", path)
            connection.getresponse().read()


@contextlib.contextmanager
def running(
    log_path: Path, *, hosts: int = 10, copies: int = 1, delay_ms: float = 0.0, options: Sequence[str] = (),
    prefix: Sequence[str] = (),
) -> Iterator[Farm]:
    """A farm that listens; it is ended when left. `prefix` is a command to run it by, such as taskset."""
    command = [
        *prefix, sys.executable, "-P", "-m", "tests.farm", "--log", str(log_path), "--hosts", str(hosts),
        "--copies", str(copies), "--delay-ms", str(delay_ms), *options,
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=_ROOT) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("the farm did not start")
            yield Farm(process, places.Ports(**json.loads(line)), log_path, copies, hosts)
        finally:
            process.terminate()
            process.wait(_PATIENCE_S)
