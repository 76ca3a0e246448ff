"""Problems -> an Atom feed of them, so that the operator can subscribe to trouble. Pure; called by `status`.

Not one of the site's feeds: it lives under /-/, and names files, lines and reasons, never what stands in a file.
"""

from __future__ import annotations

from collections.abc import Sequence

from feedd import model, plan, render, site
from feedd.store import Problem

PATH = "/-/problems.atom"


def anchor(path: str) -> str:
    """The fragment of the status page that tells of a file's problem."""
    return f"problem-{plan.hash63(path):x}"


def feed(problems: Sequence[Problem], settings: site.Settings, *, base_url: str, started_at: int) -> bytes:
    """The document, newest trouble first; `problems` are in that order.

    An entry's id depends on its file's path alone, `updated` is since when there has been trouble with it, within a
    second: no two are equal. `base_url`: where this server is, without a slash at the end. `started_at`: when the
    process began, which is when an empty feed was last updated.
    """
    known = [(number, _updated_us(problem)) for number, problem in enumerate(problems)]
    moved = plan.distinct_updated(known)
    entries = [
        _entry(problem, settings, base_url, moved.get(number, at))
        for (number, at), problem in zip(known, problems, strict=True)
    ]
    head = model.Head(
        id=plan.tag_uri(settings.tag_host, settings.tag_date, "status/problems"),
        title=f"Problems – {settings.title}",
        subtitle="Article files that feedd cannot use; what they last said stays published",
        page_url=f"{base_url}/-/",
        language="en",
        author="feedd",
        updated_us=max([started_at * 1_000_000, *(entry.updated_us for entry in entries)]),
        self_urls={"atom": base_url + PATH},
    )
    options = render.Options(language="en")
    return render.document(head, [render.fragment(entry, "atom", options) for entry in entries], "atom")


def _entry(problem: Problem, settings: site.Settings, base_url: str, updated_us: int) -> model.Entry:
    place = f"{problem.path}:{problem.line}" if problem.line else problem.path
    reason = f"{problem.field}: {problem.message}" if problem.field else problem.message
    where = f"line {problem.line}, column {problem.column}: " if problem.line else ""
    article = model.Article(
        title=f"{place}: {reason}",
        url=f"{base_url}/-/#{anchor(problem.path)}",
        summary=f"{problem.path}: {where}{reason}",
        published_at=problem.since_at,
    )
    return model.Entry(
        # Of a hash, as a path may be spelt in ways that no id should be.
        id=plan.tag_uri(settings.tag_host, settings.tag_date, f"problem/{plan.hash63(problem.path):x}"),
        article=article, published_at=problem.since_at, updated_us=updated_us,
    )


def _updated_us(problem: Problem) -> int:
    """Many problems are found in one second; a fraction of it that the path chooses keeps them apart, for ever."""
    return problem.since_at * 1_000_000 + plan.hash63(problem.path) % 1_000_000
