"""A report -> one compressed file for people elsewhere: what the doctor found, and what they would ask for next.

No article, no feed, no secret: what config.toml hides is taken out of every text in it. Called by `feedd doctor`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
from typing import Any

from feedd import errors, site
from feedd.doctor import Report, folders, redact
from feedd.doctor.findings import Finding
from feedd.store import open_store
from feedd.store.sqlite import errors_in_words

SHOWN = 200  # of problems and changes
_ABOUT = """A support bundle of feedd, made by `feedd doctor --bundle`.

report.json     what the doctor found, and the versions of everything
config.json     config.toml; what may be secret is ***
status.json     counts, the last problems and changes: names of files and of feeds, no titles, no texts
databases.json  tables, indexes and numbers of rows of the state

There is no article in it and no feed. Look it over before you pass it on: every file in it is text.
"""


def write(path: str, report: Report) -> None:
    """Makes the bundle, readable by its owner alone. Raises OutputError, also where there is such a file."""
    state = str(report.settings.state.path) if report.settings else ""
    contents = {
        "report.json": {"at": report.at, "versions": report.versions, "findings": list(map(_finding, report.findings))},
        "config.json": report.redacted.config,
        "status.json": _status(state),
        "databases.json": {name: _database(state, name) for name in folders.DATABASES},
    }
    texts = {"README.txt": _ABOUT} | {
        name: json.dumps(scrubbed(value, report.redacted), indent=1, ensure_ascii=False) + "\n"
        for name, value in contents.items()
    }
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, text in texts.items():
                data = text.encode("utf-8", "backslashreplace")
                member = tarfile.TarInfo(f"feedd-support/{name}")
                member.size, member.mtime, member.mode = len(data), report.at, 0o600
                archive.addfile(member, io.BytesIO(data))
    except OSError as error:
        raise errors.OutputError(f"{path}: cannot be written: {errors.in_words(error)}") from error


def scrubbed(value: Any, redacted: redact.Redacted) -> Any:
    """JSON of any shape, with every text in it scrubbed, those of keys as well."""
    if isinstance(value, str):
        return redacted.scrub(value)
    if isinstance(value, dict):
        return {redacted.scrub(key): scrubbed(item, redacted) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(item, redacted) for item in value]
    return value


def _finding(finding: Finding) -> dict[str, str]:
    said = finding.said
    if finding.check == "config" and finding.level == "trouble":  # it quotes the value, perhaps a part of a secret
        said = said.partition(": ")[0] + ": is wrong; see feedd check-config"
    return {"level": finding.level, "check": finding.check, "said": said, "todo": finding.todo}


def _status(folder: str) -> dict[str, Any]:
    """What `feedd status` says, but for titles and feeds that are well."""
    if not folder:
        return {}
    try:
        with errors_in_words(), open_store(folder, read_only=True) as state:
            return {
                "counts": state.count(), "waiting": state.count_dirty(),
                "problems": [
                    {"path": p.path, "line": p.line, "column": p.column, "field": p.field, "reason": p.message,
                     "since_at": p.since_at}
                    for p in state.survey.list_newest_problems(SHOWN)
                ],
                "not_written": [
                    {"feed": site.base_path(feed.kind, feed.slug or ""), "error": document.error}
                    for feed, document in state.survey.list_failed(SHOWN)
                ],
                "hubs": [
                    {"hub": load.hub, "waiting": load.waiting, "failing": load.failing, "error": load.error}
                    for load in state.survey.list_hubs()
                ],
                "changes": [{"at": at, "path": path, "what": what} for at, path, what in state.list_changes(SHOWN)],
            }
    except (errors.StateError, *folders.UNREADABLE) as error:
        return {"error": str(error)}


def _database(folder: str, name: str) -> dict[str, Any]:
    """Schema and numbers of rows; nothing of what the rows hold."""
    try:
        database = folders.open_database(folder, name) if folder else None
        if database is None:
            return {}
        with contextlib.closing(database):
            tables = database.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
            return {
                "bytes": os.path.getsize(os.path.join(folder, name)),
                "schema": int(database.execute("PRAGMA user_version").fetchone()[0]),
                "sql": [sql for _, _, sql in tables],
                "rows": {
                    table: database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
                    for kind, table, _ in tables if kind == "table"
                },
            }
    except (OSError, *folders.UNREADABLE) as error:
        return {"error": str(error)}
