"""Problems, failing hubs and dead links -> an Atom feed, so that the operator can subscribe to trouble. Pure.

Not one of the site's feeds: it lives under /-/, and names files, lines and reasons, never what stands in a file. Called
by `status`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from msgspec import Struct

from feedd import model, plan, render, site
from feedd.store import Problem
from feedd.store.linksurvey import Change
from feedd.store.survey import HubLoad

PATH = "/-/problems.atom"
LINKS = 100  # of those that died, moved or healed, the newest
_DAY_S = 86_400
_TITLE = 200  # characters of a URL in a title


class Trouble(Struct, frozen=True, gc=False):
    """What an entry says. `kind` and `key` name what there is trouble with, and make the entry's id for ever.

    `page`: below /-/, where more is said; empty for its place on the first page.
    """

    kind: str
    key: str
    title: str
    summary: str
    since_at: int
    page: str = ""


def of_problem(problem: Problem) -> Trouble:
    """A file that cannot be used."""
    place = f"{problem.path}:{problem.line}" if problem.line else problem.path
    reason = f"{problem.field}: {problem.message}" if problem.field else problem.message
    where = f"line {problem.line}, column {problem.column}: " if problem.line else ""
    return Trouble(
        "problem", problem.path, f"{place}: {reason}", f"{problem.path}: {where}{reason}", problem.since_at
    )


def of_hub(load: HubLoad) -> Trouble | None:
    """A hub that fails, since the beginning of the day of its oldest failure: what it would not hear changes with every
    publication, and the operator is to be told of it once a day at most. None for a hub that does not fail.
    """
    if load.since_at is None:
        return None
    told = f"hub {load.hub}: {load.error}"
    return Trouble("hub", load.hub, told, told, load.since_at // _DAY_S * _DAY_S)


def of_link(change: Change) -> Trouble:
    """A link that died, moved or healed: each time an entry of its own."""
    did = {"dead": "died", "moved": "moved"}.get(change.now, "healed")
    where = f", and leads to {change.target}" if change.target else ""
    return Trouble(
        "link", f"{change.url} {change.now} {change.at}", f"link {did}: {_short(change.url)}",
        f"{change.url} was {change.was} and is {change.now}{where}", change.at,
        f"links/show?url={quote(change.url, safe='')}#{change.now}-{change.at}",  # a link of its own, as each needs
    )


def newest(
    problems: Iterable[Problem], hubs: Iterable[HubLoad], limit: int, links: Iterable[Change] = ()
) -> list[Trouble]:
    """The latest trouble first; what is the same twice, once."""
    of_links = {one.key: one for one in map(of_link, links)}
    found = [*map(of_problem, problems), *filter(None, map(of_hub, hubs)), *of_links.values()]
    return sorted(found, key=lambda one: (-one.since_at, one.kind, one.key))[:limit]


def anchor(key: str) -> str:
    """The fragment of the status page that tells of the trouble with a file or hub."""
    return f"problem-{plan.hash63(key):x}"


def feed(troubles: Sequence[Trouble], settings: site.Settings, *, base_url: str, started_at: int) -> bytes:
    """The document, newest trouble first; `troubles` are in that order.

    An entry's id depends on its file's path or its hub alone, `updated` is since when there has been trouble with it,
    within a second: no two are equal. `base_url`: where this server is, without a slash at the end. `started_at`: when
    the process began, which is when an empty feed was last updated.
    """
    known = [(number, _updated_us(trouble)) for number, trouble in enumerate(troubles)]
    moved = plan.distinct_updated(known)
    entries = [
        _entry(trouble, settings, base_url, moved.get(number, at))
        for (number, at), trouble in zip(known, troubles, strict=True)
    ]
    head = model.Head(
        id=plan.tag_uri(settings.tag_host, settings.tag_date, "status/problems"),
        title=f"Problems – {settings.title}",
        subtitle="Article files that feedd cannot use, whose last good version stays published; hubs that fail; and "
        "links that died, moved or healed",
        page_url=f"{base_url}/-/",
        language="en",
        author="feedd",
        updated_us=max([started_at * 1_000_000, *(entry.updated_us for entry in entries)]),
        self_urls={"atom": base_url + PATH},
    )
    options = render.Options(language="en")
    return render.document(head, [render.fragment(entry, "atom", options) for entry in entries], "atom")


def _entry(trouble: Trouble, settings: site.Settings, base_url: str, updated_us: int) -> model.Entry:
    article = model.Article(
        title=trouble.title, url=f"{base_url}/-/{trouble.page or '#' + anchor(trouble.key)}", summary=trouble.summary,
        published_at=trouble.since_at,
    )
    return model.Entry(
        # Of a hash, as a path may be spelt in ways that no id should be.
        id=plan.tag_uri(settings.tag_host, settings.tag_date, f"{trouble.kind}/{plan.hash63(trouble.key):x}"),
        article=article, published_at=trouble.since_at, updated_us=updated_us,
    )


def _short(url: str) -> str:
    return url if len(url) <= _TITLE else url[: _TITLE - 1] + "…"


def _updated_us(trouble: Trouble) -> int:
    """Much trouble is found in one second; a fraction of it that the key chooses keeps it apart, for ever."""
    return trouble.since_at * 1_000_000 + plan.hash63(trouble.key) % 1_000_000
