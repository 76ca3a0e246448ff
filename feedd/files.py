"""A folder of article files -> paths, stats and bytes.

The only place that opens articles. Parses nothing, remembers nothing, and reads no clock: `now_ns` is the caller's.
Article paths are relative to the root, with "/" between their parts. Called by `watch`, `intake` and `publish`.
"""

from __future__ import annotations

import errno
import os
import stat as mode_bits
from collections.abc import Callable, Iterator
from functools import lru_cache

from msgspec import Struct

from feedd import errors

ARTICLE_SUFFIXES = (".md", ".markdown", ".html", ".txt")
METADATA_SUFFIXES = (".yaml", ".yml")  # below a folder called _data

# A file changed this shortly before it was read may change again without a new mtime: kernels stamp files
# with the time of their last tick (10 ms at 100 Hz), FAT and some network folders with even seconds.
_MTIME_GRAIN_NS = 20_000_000
_COARSE_MTIME_GRAIN_NS = 2_000_000_000

_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK  # non-blocking: a FIFO must not hang us

# What opening a path may answer when there is no regular file at it (ENXIO: a socket or a FIFO).
_NO_SUCH_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENODEV, errno.ENAMETOOLONG})

# What says nothing about a file, but that the process or the machine has no more to give just now.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

OnProblem = Callable[[str, str], None]


class RootGoneError(errors.FeeddError):
    """The article folder itself cannot be listed: gone, not a folder, or not readable. Never means "no articles"."""

    def __init__(self, root: str, reason: str) -> None:
        super().__init__(f"{root}: {reason}")
        self.root, self.reason = root, reason

    def __reduce__(self) -> tuple[type[RootGoneError], tuple[str, str]]:
        return type(self), (self.root, self.reason)  # it may come from a worker process


class ExhaustedError(errors.FeeddError):
    """Nothing can be opened, for want of open files or memory: nothing is known of any article until that is over."""


class Stat(Struct, frozen=True, array_like=True, gc=False):
    """What tells that a file is unchanged without reading it. Nanoseconds since 1970, bytes."""

    mtime_ns: int
    size: int
    inode: int


NO_STAT = Stat(0, 0, 0)


class Read(Struct, frozen=True, gc=False):
    """The bytes of an article and the stat they belong to.

    `certain` is False when the file was changed so shortly before that a later change could leave the very same stat:
    an equal stat then does not prove equal bytes, and the stat should not be kept.
    """

    data: bytes
    stat: Stat
    certain: bool


class Unsettled(Struct, frozen=True, gc=False):
    """The file is being written, or was a moment ago: read it again later."""

    stat: Stat


def is_article_path(path: str) -> bool:
    """True for a root-relative path that feedd reads: by suffix, with no hidden part (so no `.#x.md`, no `.git/`).

    Editors' and downloaders' temporary files (`x.md~`, `.x.md.swp`, `#x.md#`, `x.md.part`, `4913`) end otherwise.
    """
    if path.startswith(".") or "/." in path:
        return False
    tail = path[-9:].lower()
    return tail.endswith(ARTICLE_SUFFIXES) or (tail.endswith(METADATA_SUFFIXES) and _is_metadata(path))


def is_folder_name(name: str) -> bool:
    """True for the name of a folder that `scan` enters: not hidden, and UTF-8."""
    return not name.startswith(".") and (name.isascii() or _is_utf8(name))


def identify(root: str) -> tuple[int, int]:
    """Which folder the root is: its device and inode. Raises RootGoneError if it is none."""
    try:
        found = os.stat(root)
    except OSError as error:
        raise RootGoneError(root, errors.in_words(error)) from error
    if not mode_bits.S_ISDIR(found.st_mode):
        raise RootGoneError(root, "not a folder")
    return found.st_dev, found.st_ino


def scan(
    root: str, *, under: str = "", on_problem: OnProblem | None = None, stats: bool = True
) -> Iterator[tuple[str, Stat]]:
    """Yield (path, Stat) of every article below `root`/`under`, in the order of `sorted()` over the paths.

    Holds one folder per level in memory. Folders that are symlinks are not entered; a file that is one counts
    with its target's stat if that stays inside the root. A folder `under` that is not there yields nothing.
    `on_problem(path, reason)` gets what was skipped; a path that ends in "/" is a folder that could not be listed,
    so that what was known below it is unknown now, not gone. Without `stats`, regular files come with NO_STAT, sooner.
    Raises RootGoneError, at the first item or, when the root is removed or exchanged meanwhile, at a later one; and
    ExhaustedError.
    """
    report = on_problem or _ignore
    identity = identify(root)
    prefix = under.strip("/") + "/" if under.strip("/") else ""
    if prefix and not _is_plain_folder(root, prefix):
        return
    real_root = ""  # looked up when the first symlink is met
    levels = [_list_folder(root, prefix, report)]
    pending = [iter(sorted(levels[0]))]
    while pending:
        entries = levels[-1]
        for path in pending[-1]:
            if path.endswith("/"):
                levels.append(_list_folder(root, path, report))
                pending.append(iter(sorted(levels[-1])))
                break
            try:
                if not stats and entries[path].is_file(follow_symlinks=False):
                    yield path, NO_STAT
                    continue
                found = entries[path].stat(follow_symlinks=False)
                if mode_bits.S_ISLNK(found.st_mode):
                    real_root = real_root or os.path.realpath(root)
                    found = _stat_of_link(root, real_root, path)
            except FileNotFoundError:
                continue  # gone since it was listed
            except (OSError, errors.ArticleError) as error:
                report(path, error.message if isinstance(error, errors.ArticleError) else errors.in_words(error))
                continue
            if mode_bits.S_ISREG(found.st_mode):
                yield path, Stat(found.st_mtime_ns, found.st_size, found.st_ino)
            else:
                report(path, "not a regular file")
        else:
            levels.pop()
            pending.pop()
    if identify(root) != identity:
        raise RootGoneError(root, "exchanged for another folder while it was listed")


def find_stat(root: str, path: str) -> Stat | None:
    """The Stat that `scan` would yield for one path; None if it would yield none. Raises nothing."""
    try:
        found = os.lstat(f"{root}/{path}")
        if mode_bits.S_ISLNK(found.st_mode):
            found = _stat_of_link(root, os.path.realpath(root), path)
    except (OSError, errors.ArticleError):
        return None
    return Stat(found.st_mtime_ns, found.st_size, found.st_ino) if mode_bits.S_ISREG(found.st_mode) else None


def read(root: str, path: str, *, max_bytes: int, now_ns: int, settle_ns: int = 0) -> Read | Unsettled | None:
    """Read one article whole; None if there is no such regular file any more.

    Unsettled while it changes under our eyes, or was changed less than `settle_ns` before `now_ns`; an mtime ahead of
    `now_ns` counts as settled, else a wrong clock would hold a file for ever.
    Raises ArticleError: larger than `max_bytes`, not readable, or leading out of the root by a symlink or "..".
    Raises RootGoneError if the file is not there and neither is the root, and ExhaustedError: then nothing is known
    about the file.
    """
    try:
        fd = _open(root, path)
        if fd is None:
            identify(root)
            return None
        try:
            return _read_open(fd, path, max_bytes, now_ns, settle_ns)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise ExhaustedError(f"{root}/{path}: cannot be read: {errors.in_words(error)}") from error
        raise errors.ArticleError(path, f"cannot be read: {errors.in_words(error)}") from error


def _ignore(path: str, reason: str) -> None:
    pass


def _is_metadata(path: str) -> bool:
    return path.startswith("_data/") or "/_data/" in path


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # surrogates: bytes that the file system holds and UTF-8 does not
        return False
    return True


def _is_plain_folder(root: str, prefix: str) -> bool:
    """True if `prefix` names a folder below `root` that a scan of the root would enter."""
    parts = prefix[:-1].split("/")
    if not all(map(is_folder_name, parts)):
        return False
    for end in range(1, len(parts) + 1):
        try:
            if not mode_bits.S_ISDIR(os.lstat("/".join([root, *parts[:end]])).st_mode):
                return False
        except OSError as error:
            return error.errno == errno.EACCES  # listing it will say so
    return True


def _list_folder(root: str, prefix: str, report: OnProblem) -> dict[str, os.DirEntry[str]]:
    """The articles and folders in one folder by path; a folder's ends in "/", which is what makes the order that of
    the whole paths. Names that are no UTF-8 are reported."""
    found: dict[str, os.DirEntry[str]] = {}
    metadata = _is_metadata(prefix)
    try:
        with os.scandir(f"{root}/{prefix}") as entries:
            for entry in entries:
                name = entry.name
                if name[0] == ".":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    path = f"{prefix}{name}/"
                else:
                    tail = name[-9:].lower()
                    if not (tail.endswith(ARTICLE_SUFFIXES) or (metadata and tail.endswith(METADATA_SUFFIXES))):
                        continue
                    path = prefix + name
                if name.isascii() or _is_utf8(name):
                    found[path] = entry
                else:
                    report(os.fsencode(path).decode(errors="backslashreplace"), "its name is not UTF-8")
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise ExhaustedError(f"{root}/{prefix}: cannot be listed: {errors.in_words(error)}") from error
        if not prefix:
            raise RootGoneError(root, errors.in_words(error)) from error
        if error.errno not in _NO_SUCH_FILE:
            report(prefix, f"cannot be listed: {errors.in_words(error)}")
    return found


def _target(root: str, real_root: str, path: str) -> str:
    """Where a symlinked article leads. Raises ArticleError if that is outside the root."""
    target = os.path.realpath(f"{root}/{path}")
    if not target.startswith(real_root.rstrip("/") + "/"):
        raise errors.ArticleError(path, "a symlink that leads out of the article folder")
    return target


def _stat_of_link(root: str, real_root: str, path: str) -> os.stat_result:
    """The stat of what a symlinked article leads to. Raises ArticleError if that is outside or nothing."""
    try:
        return os.stat(_target(root, real_root, path), follow_symlinks=False)
    except FileNotFoundError as error:
        raise errors.ArticleError(path, "a symlink that leads to nothing") from error


@lru_cache(maxsize=16)
def _real_root(root: str, device: int, inode: int) -> str:
    """realpath(root): 10 us, so kept for as long as `root` leads to the same folder."""
    return os.path.realpath(root)


def _open(root: str, path: str) -> int | None:
    """Open what is at `path` for reading, inside the root only; None if nothing is there.

    Where the file really is, is asked of the open descriptor: unlike a look at the path beforehand, that cannot be
    raced by someone who swaps a folder for a symlink.
    """
    try:
        at = os.stat(root)
    except OSError:
        return None
    try:
        fd = os.open(f"{root}/{path}", _READ_FLAGS | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return _open_link(root, path)
        if error.errno in _NO_SUCH_FILE:
            return None
        raise
    return _confined(fd, root, path, _real_root(root, at.st_dev, at.st_ino), f"{root}/{path}")


def _open_link(root: str, path: str) -> int | None:
    """Open a symlinked article. Where it leads is looked up before, too: merely opening a device may do things."""
    real_root = os.path.realpath(root)
    target = _target(root, real_root, path)
    try:
        fd = os.open(target, _READ_FLAGS | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    return _confined(fd, root, path, real_root, target)


def _real_path(fd: int, path: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # no /proc here
        return os.path.realpath(path)


def _confined(fd: int, root: str, path: str, real_root: str, opened: str) -> int:
    """The same open file, if it is inside the root, or deleted. Raises ArticleError, and closes it, if it is not."""
    try:
        real = _real_path(fd, opened)
        if real != f"{real_root}/{path}":  # then the long way: links, "..", or a root that was renamed
            inside = os.path.realpath(root).rstrip("/") + "/"
            if not real.startswith(inside) and os.fstat(fd).st_nlink > 0:
                raise errors.ArticleError(path, "leads out of the article folder")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _read_open(fd: int, path: str, max_bytes: int, now_ns: int, settle_ns: int) -> Read | Unsettled | None:
    before = os.fstat(fd)
    if not mode_bits.S_ISREG(before.st_mode) or before.st_nlink == 0:
        return None
    stat = Stat(before.st_mtime_ns, before.st_size, before.st_ino)
    age_ns = now_ns - stat.mtime_ns
    if 0 <= age_ns < settle_ns:
        return Unsettled(stat)
    if stat.size > max_bytes:
        raise errors.ArticleError(path, f"larger than {max_bytes} bytes")
    data = os.read(fd, stat.size + 1)  # one more, to see that it grew
    after = os.fstat(fd)
    if len(data) != stat.size or after.st_mtime_ns != stat.mtime_ns or after.st_size != stat.size:
        return Unsettled(Stat(after.st_mtime_ns, after.st_size, after.st_ino))
    grain_ns = _COARSE_MTIME_GRAIN_NS if stat.mtime_ns % 1_000_000_000 == 0 else _MTIME_GRAIN_NS
    return Read(data, stat, abs(age_ns) >= grain_ns)
