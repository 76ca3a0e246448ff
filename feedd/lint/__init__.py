"""The bytes of a feed -> everything that is wrong with it, by the W3C feed validator's rules and some more.

Pure: reads no clock, opens no file, resolves no host. Called by tests over every feed made, and by `feedd lint`. Safe
on any bytes: bounded in depth, in size and in what it reports; it never raises.
"""

from __future__ import annotations

from feedd import model
from feedd.lint import atom, jsonfeed, opml, rss, shape, xmltree
from feedd.lint.rules import RULES, Finding, Report

__all__ = ["RULES", "Finding", "lint", "lint_opml"]


def lint(data: bytes, fmt: model.Format, *, self_url: str = "", now: int | None = None) -> list[Finding]:
    """What is wrong with a feed document, in the order of its lines; empty where nothing is.

    `self_url`: where it is fetched from, if known. `now`: seconds since 1970; dates after it are reported, if given.
    """
    report = Report(fmt, data, [], now, self_url)
    if fmt == "json":
        jsonfeed.check(report)
    else:
        _check_xml(report, atom.check if fmt == "atom" else rss.check)
    return _in_order(report)


def lint_opml(data: bytes, *, now: int | None = None) -> list[Finding]:
    """What is wrong with an OPML list of feeds, as `lint` says it."""
    report = Report("opml", data, [], now)
    _check_xml(report, opml.check)
    return _in_order(report)


def _check_xml(report: Report, check: shape.Check) -> None:
    root = xmltree.parse(report)
    if root is not None:
        check(report, root)


def _in_order(report: Report) -> list[Finding]:
    return sorted(report.findings, key=lambda finding: finding.line)
