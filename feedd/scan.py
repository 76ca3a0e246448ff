"""A folder of articles, and what the state knows of it -> what is to be looked at: what is new, changed or gone.

Tells a root that is another than it was from one that was emptied, and sees where a disk is missing: of articles there
nothing is known, and what was published stays. Reads no article. Called by `publish`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence, Set
from hashlib import blake2b

import msgspec

from feedd import files, intake, poll
from feedd.store import FileRow, Store, open_store

PARSE_VERSION = "1"  # a new meaning of what files say is a new version, and reads all of them again


def fingerprint(site_url: str) -> str:
    """What files were read for: by another one, all of them are read again."""
    return blake2b(msgspec.msgpack.encode((PARSE_VERSION, site_url)), digest_size=16).hexdigest()


def identify(store: Store, root: str) -> str:
    """Which folder the root is. Raises RootGoneError if it is not that of the last scan, and empty: what is left
    where a disk was mounted looks so. The same folder, emptied, is just that.
    """
    identity = "{}:{}".format(*files.identify(root))
    is_new = store.find_meta("root") not in (None, identity)
    if is_new and store.has_files() and next(files.scan(root, stats=False), None) is None:
        raise files.RootGoneError(root, "empty, and not the folder that it was: is something not mounted?")
    return identity


def unmounted(store: Store, root: str) -> tuple[str, ...]:
    """Folders, with a "/" after each, where something was mounted at the last scan, and now are there and empty: of
    their articles nothing is known.
    """
    said = store.find_meta("mounts")
    if said in (None, "[]"):
        return ()
    gone = set(msgspec.json.decode(said, type=list[str])) - poll.mounts_below(root)
    return tuple(
        f"{path}/" for path in sorted(gone)
        if os.path.isdir(f"{root}/{path}") and next(files.scan(root, under=path, stats=False), None) is None
    )


def differences(
    store: Store, root: str, under: Sequence[str], progress: Callable[[str, int], None], *, force: bool,
    troubles: dict[str, str],
) -> Iterator[intake.Reading | intake.Intake]:
    """What a scan finds to be looked at: a merge of two streams in the order of paths.

    `force`: everything. `troubles` is filled with what cannot be looked at, and why.
    """
    lost_folders: list[str] = []

    def report(path: str, reason: str) -> None:
        troubles[path] = reason
        if path.endswith("/"):
            lost_folders.append(path)

    for folder in unmounted(store, root):
        report(folder, "empty, and something was mounted there: its articles stay; remove it if they are to go")
    again = {problem.path for problem in store.list_problems()}
    with open_store(store.folder, read_only=True) as reader:
        for folder in under:
            known = reader.iter_files(folder)
            row = next(known, None)
            stats = row is not None
            for number, (path, stat) in enumerate(files.scan(root, under=folder, on_problem=report, stats=stats)):
                if not number % 1_000:
                    progress("articles", 0)
                while row is not None and row.path < path:
                    yield from _gone(row, lost_folders)
                    row = next(known, None)
                if row is not None and row.path == path:
                    same = (row.mtime_ns, row.size, row.inode) == (stat.mtime_ns, stat.size, stat.inode)
                    if force or path in again:
                        yield intake.Reading(path)
                    elif not same:
                        yield intake.Reading(path, row.digest)
                    row = next(known, None)
                else:
                    yield intake.Reading(path)
            while row is not None:
                yield from _gone(row, lost_folders)
                row = next(known, None)
    for path, reason in sorted(troubles.items()):
        if path.endswith("/") or files.is_article_path(path):
            yield intake.Intake(path, "problem", trouble=intake.Trouble(0, 0, "", reason))


def note(store: Store, root: str, identity: str, troubled: Set[str]) -> list[str]:
    """What a scan of all of it learned of the folder itself; inside a transaction. `troubled`: paths that are there and
    cannot be used now. Returns those that had a problem and are gone, or are folders that can be listed again.
    """
    store.put_meta("root", identity)
    mounts = poll.mounts_below(root) | {path[:-1] for path in unmounted(store, root)}
    store.put_meta("mounts", msgspec.json.encode(sorted(mounts)).decode())
    known = {problem.path for problem in store.list_problems()}
    dropped = sorted(known - troubled - set(store.find_files(sorted(known))))
    store.drop_problems(dropped)
    return dropped


def _gone(row: FileRow, lost_folders: Sequence[str]) -> Iterator[intake.Intake]:
    """A known file that a scan did not meet, unless its folder could not be listed."""
    if not any(row.path.startswith(folder) for folder in lost_folders):
        yield intake.Intake(row.path, "gone")
