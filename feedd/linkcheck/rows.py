"""What is known of a link -> what the operator sees of it: times in RFC 3339, None for never.

Pure; the same for the command and for the status, in JSON and in CSV.
"""

from __future__ import annotations

from msgspec import Struct

from feedd.freshness.states import Evidence, Finding, Verdict
from feedd.render.text import rfc3339
from feedd.store.linkrows import Link


class LinkRow(Struct, frozen=True, gc=False):
    """A link. `status`: of the last answer, 0 without one; `by_hand`: the operator's verdict; `reason`: of the last
    check; `uses`: the articles that have it.
    """

    url: str
    verdict: Verdict
    since: str | None
    verified: str | None
    checked: str | None
    next_check: str | None
    strikes: int
    first_failed: str | None
    status: int
    final_url: str
    changed: str | None
    archive_url: str
    by_hand: str
    uses: int
    reason: str


class EvidenceRow(Struct, frozen=True, gc=False):
    """What one check showed."""

    at: str | None
    finding: Finding
    status: int
    reason: str
    final_url: str


COLUMNS: tuple[str, ...] = LinkRow.__struct_fields__


def link_row(link: Link) -> LinkRow:
    """The link, in short."""
    state = link.state
    return LinkRow(
        url=link.url, verdict=state.verdict, since=time_of(state.since_at), verified=time_of(state.verified_at),
        checked=time_of(state.checked_at), next_check=time_of(state.next_check_at), strikes=state.strikes,
        first_failed=time_of(state.first_failed_at), status=state.status, final_url=state.final_url,
        changed=time_of(state.changed_at), archive_url=state.archive_url, by_hand=state.by_hand, uses=link.uses,
        reason=state.history[0].reason if state.history else "",
    )


def evidence_row(seen: Evidence) -> EvidenceRow:
    """A piece of a link's history."""
    return EvidenceRow(time_of(seen.at), seen.finding, seen.status, seen.reason, seen.final_url)


def time_of(at: int) -> str | None:
    """Seconds since 1970 UTC for people and programs; 0 is never."""
    return rfc3339(at) if at else None
