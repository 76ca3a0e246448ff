"""The last page of the tutorial, done: a service of a user's own, by the systemd of a machine in namespaces."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import systemd_machine
from processes import ROOT
from test_docs import DOCS, blocks, shows
from test_service import USERS_MANAGER

_WHY_NOT = systemd_machine.why_not()
FEEDD = f"""#!/bin/sh
PYTHONPATH='{ROOT}' exec '{sys.executable}' -P -m feedd "$@"
"""


@pytest.mark.skipif(bool(_WHY_NOT), reason=f"a machine of its own: {_WHY_NOT}")
def test_the_page_about_a_service_does_what_it_says(tmp_path: Path) -> None:
    first, last = (DOCS / "tutorial" / f"{name}.md" for name in ("first-feed", "as-a-service"))
    left = {caption: text for _, caption, text in blocks(first) if caption}  # by the first lesson
    steps = 0
    with systemd_machine.running(tmp_path) as machine:

        def save(path: str, text: str) -> None:
            machine.do("sh", "-ec", 'mkdir -p "$(dirname "$1")"; printf %s "$2" >"$1"', "sh", path, text)

        save("/usr/local/bin/feedd", FEEDD)
        machine.do("sh", "-ec", "chmod 755 /usr/local/bin/feedd; useradd -m anna; install -d -m 700 -o anna /run/anna")
        save("/etc/systemd/system/anna.service", USERS_MANAGER)
        machine.do("systemctl", "start", "anna")
        for path, text in left.items():
            save(f"/home/anna/{path}", text)
        for language, caption, text in blocks(last):
            if language == "toml":
                save(f"/home/anna/{caption or 'news/config.toml'}", text)
                machine.do("chown", "-R", "anna:anna", "/home/anna")
            elif language == "console":
                for each in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                    command, _, expected = each.partition("\n")
                    done = machine.do(
                        "setpriv", "--reuid=anna", "--regid=anna", "--init-groups", "sh", "-c", command, check=False,
                        HOME="/home/anna", XDG_RUNTIME_DIR="/run/anna",
                        PATH="/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    )
                    said = done.stdout + done.stderr
                    assert shows(said, expected), f"$ {command}\n{said}\nbut the page says\n{expected}"
                    steps += 1
    assert steps > 5
