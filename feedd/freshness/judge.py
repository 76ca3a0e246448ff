"""(what is known of a link, what a check showed) -> what is known now, and when to look again.

Pure: the state, the evidence and `now` in, a state out; called by a run of checks and, for verdicts by hand, by the
edges. It fetches nothing and stores nothing.
"""

from __future__ import annotations

from msgspec import Struct, structs

from feedd import plan
from feedd.freshness import fingerprint
from feedd.freshness.states import HISTORY, Evidence, LinkState, Verdict

DAY_S = 86_400
STRIKE_GAP_S = 3 * DAY_S
WEAK_DAYS = 3  # days of weak evidence that are one strike
GONE_STRIKES = 2  # that kill, if each showed a page that is gone for good
MOVED_AFTER_S = DAY_S
PROBE_DAYS = 1
STEPS_DAYS = (1, 2, 4, 7, 14, 30)
DEAD_STEPS_DAYS = (7, 14, 30, 60, 90)
JITTER = 0.15
SOON_S = 15  # what is to be checked at once is spread over this
LONGEST_S = int(90 * DAY_S * (1 + JITTER))  # no next check is later, whatever a host wishes

_GROUNDLESS = frozenset({"unchecked", "fresh", "stale", "blocked"})  # verdicts that a blocked check replaces


class Policy(Struct, frozen=True):
    """What an operator may want otherwise. At least 2 strikes; days of 1 to 90."""

    strikes: int = 3
    longest_days: int = 30
    unused_days: int = 90


POLICY = Policy()


def judge(
    url: str, state: LinkState, evidence: Evidence, now: int, *, in_feed: bool = True, policy: Policy = POLICY
) -> LinkState:
    """The link's state after a check. `now`: seconds since 1970 UTC, at `evidence.at` or a little later.

    `in_feed`: a feed shows the link; others are looked at every 90 days. Where the definition leaves a choice:

    - A strike counts 3 days after the last one or later; what shows the same in between is noted, and no strike.
    - Dead: three strikes of any kind, or two in a row that both showed a page gone for good (410, no such name).
    - Weak evidence makes a strike on its third day (UTC) since the last strike; until then the verdict stays.
    - Blocked says nothing: what is failing, dead or moved stays so, anything else is `blocked`.
    - An excluded link forgets its strikes, and starts anew when the rule is lifted.
    - Changed (`changed_at` is not 0): the content is not what was verified first, and the same other content was seen
      in two successful checks in a row. The first stays the measure: once it is back, the link is unchanged.
    - Moved: the same permanent target in two checks 24 hours apart, and in all successes between and since.
    - The interval grows while nothing changes; a weak answer leaves it as it is (0 before any success), and is looked
      into after a day.
    """
    verdict = _found(state, now, policy)
    if evidence.finding == "good":
        new, verdict = _verified(state, evidence)
    elif evidence.finding == "blocked":
        new, verdict = state, "blocked" if verdict in _GROUNDLESS else verdict
    elif evidence.finding == "excluded":
        new, verdict = _without_failures(state), "excluded"
    else:
        new, verdict = _failed(state, verdict, evidence, policy)
    new = structs.replace(
        _entered(new, state.by_hand or verdict, now), checked_at=evidence.at, status=evidence.status,
        history=_history(new, evidence),
    )  # fmt: skip
    new = structs.replace(new, interval_days=_interval_days(state, new, in_feed, policy))
    return structs.replace(new, next_check_at=next_check_at(url, new, now, in_feed=in_feed))


# -- what was found ------------------------------------------------------------------------------------------------


def _found(state: LinkState, now: int, policy: Policy = POLICY) -> Verdict:
    """The verdict of checks alone: what is noted says it where the operator, by hand or by a rule, said another."""
    if not state.by_hand and state.verdict != "excluded":
        return state.verdict
    if state.strikes:
        return "dead" if state.strikes >= policy.strikes else "failing"
    if not state.verified_at:
        return "unchecked"
    if _is_moved(state):
        return "moved"
    return lapse(structs.replace(state, verdict="fresh", by_hand=""), now).verdict


def _verified(state: LinkState, evidence: Evidence) -> tuple[LinkState, Verdict]:
    """After a success, which ends every failing period."""
    moved_at = 0
    if evidence.permanent and evidence.final_url:
        same_target = state.moved_at and state.final_url == evidence.final_url
        moved_at = state.moved_at if same_target else evidence.at
    first, other, changed_at = _content(state, evidence)
    # A 304 need not repeat its validators (RFC 9110, section 15.4.5); any other answer without them has none.
    new = structs.replace(
        _without_failures(state), verified_at=evidence.at, final_url=evidence.final_url, moved_at=moved_at,
        etag=evidence.etag or (state.etag if evidence.unchanged else ""),
        last_modified=evidence.last_modified or (state.last_modified if evidence.unchanged else ""),
        fingerprint=first, other_fingerprint=other, changed_at=changed_at,
    )  # fmt: skip
    return new, "moved" if _is_moved(new) else "fresh"


def _is_moved(state: LinkState) -> bool:
    return state.moved_at > 0 and state.verified_at - state.moved_at >= MOVED_AFTER_S


def _content(state: LinkState, evidence: Evidence) -> tuple[bytes, bytes, int]:
    """(fingerprint, other_fingerprint, changed_at) after a success."""
    first, other, changed_at = state.fingerprint, state.other_fingerprint, state.changed_at
    seen = evidence.fingerprint
    if evidence.unchanged:
        seen = seen or other or first  # a 304 is one more sight of what was answered last
    if not seen:
        return first, other if changed_at else b"", changed_at
    if not first or fingerprint.same(seen, first):
        return first or seen, b"", 0
    if other and fingerprint.same(seen, other):
        return first, other, changed_at or evidence.at
    return first, seen, changed_at


def _failed(state: LinkState, verdict: Verdict, evidence: Evidence, policy: Policy) -> tuple[LinkState, Verdict]:
    """After evidence that the page is not there, or none that it is."""
    at, weak_days, weak_at = evidence.at, state.weak_days, state.weak_at
    # A day is none of a strike's if it was the last strike's already.
    if evidence.finding == "weak" and at // DAY_S > max(weak_at, state.strike_at) // DAY_S:
        weak_days, weak_at = weak_days + 1, at
    failed_at = min(state.first_failed_at or at, at)
    new = structs.replace(state, first_failed_at=failed_at, weak_days=weak_days, weak_at=weak_at)
    if evidence.finding == "weak" and weak_days < WEAK_DAYS:
        return new, verdict
    # Measured from the last strike that counted: a clock that was set back makes links live longer, never shorter.
    if state.strikes and at - state.strike_at < STRIKE_GAP_S:
        return new, verdict
    strikes = state.strikes + 1
    gone = strikes >= GONE_STRIKES and evidence.finding == "gone" and _was_gone(state)
    dead = verdict == "dead" or strikes >= policy.strikes or gone
    return structs.replace(new, strikes=strikes, strike_at=at, weak_days=0), "dead" if dead else "failing"


def _was_gone(state: LinkState) -> bool:
    """Whether the last strike showed a page that is gone for good."""
    return any(old.finding == "gone" for old in state.history if old.at == state.strike_at)


def _without_failures(state: LinkState) -> LinkState:
    return structs.replace(state, strikes=0, strike_at=0, weak_days=0, weak_at=0, first_failed_at=0)


def _entered(state: LinkState, verdict: Verdict, now: int) -> LinkState:
    return state if state.verdict == verdict else structs.replace(state, verdict=verdict, since_at=now)


def _history(state: LinkState, evidence: Evidence) -> tuple[Evidence, ...]:
    """The newest evidence first. The last strike's stays, however much came after: the next one is judged with it.

    Without what only a comparison needs, so that a row stays small: the state has the fingerprints and validators.
    """
    slim = structs.replace(evidence, fingerprint=b"", etag="", last_modified="")
    kept, last = state.history[: HISTORY - 1], state.history[HISTORY - 1 :]
    if last and state.strikes and last[0].at == state.strike_at:
        kept = kept[:-1] + last
    return (slim, *kept)


# -- when to look again --------------------------------------------------------------------------------------------


def next_check_at(url: str, state: LinkState, now: int, *, in_feed: bool = True) -> int:
    """When a link that was checked just now is to be checked again: later than now, within LONGEST_S.

    Never sooner than the host asked for. A probe where the last check failed and the verdict is still open: that
    leaves `interval_days` as it is, so that one timeout does not make a link stale.
    """
    last = state.history[0] if state.history else None
    is_open = in_feed and not state.by_hand and state.verdict not in ("dead", "excluded")
    probe = is_open and last is not None and last.finding == "weak"
    days = PROBE_DAYS if probe else max(state.interval_days, 1)
    wait_s = max(int(days * DAY_S * _spread(url)), last.retry_after_s if last else 0)
    return now + min(wait_s, LONGEST_S)


def first_check_at(url: str, now: int, *, in_feed: bool = True, policy: Policy = POLICY) -> int:
    """When a link that was just found is to be checked: in a moment, if a feed shows it."""
    if not in_feed:
        return now + int(policy.unused_days * DAY_S * _spread(url))
    return now + 1 + plan.hash63(url) % SOON_S


def replan(url: str, state: LinkState, now: int, *, in_feed: bool, policy: Policy = POLICY) -> LinkState:
    """The state of a link that came into a feed, or left the last one, with the next check as its use asks for."""
    if not state.checked_at:
        return structs.replace(state, next_check_at=first_check_at(url, now, in_feed=in_feed, policy=policy))
    days = state.interval_days
    if not in_feed:
        days = policy.unused_days
    elif state.verdict == "failing" and not state.by_hand:
        days = PROBE_DAYS
    elif state.verdict not in ("dead", "excluded"):
        days = min(days, policy.longest_days)
    new = structs.replace(state, interval_days=days)
    due_at = next_check_at(url, new, state.checked_at, in_feed=in_feed)
    soon_at = first_check_at(url, now, policy=policy)
    return structs.replace(new, next_check_at=max(due_at, soon_at))


def _interval_days(old: LinkState, new: LinkState, in_feed: bool, policy: Policy) -> int:
    """The planned days to the next check, but for a probe; `new` has the verdict and the evidence of this one."""
    if not in_feed or new.verdict == "excluded":
        return policy.unused_days
    if new.verdict == "dead":
        return _after(old.interval_days if old.verdict == "dead" else 0, DEAD_STEPS_DAYS)
    if new.verdict == "failing" and not new.by_hand:
        return PROBE_DAYS
    if not new.by_hand and old.verdict in ("failing", "dead", "excluded"):
        return STEPS_DAYS[0]
    planned = min(old.interval_days, policy.longest_days)
    if new.history[0].finding == "weak" and not new.by_hand:
        return planned
    if new.changed_at != old.changed_at or (new.verdict == "moved") != (old.verdict == "moved"):
        return max(planned // 2, STEPS_DAYS[0])
    return min(_after(planned, STEPS_DAYS), policy.longest_days)


def _after(days: int, steps: tuple[int, ...]) -> int:
    return next((step for step in steps if step > days), steps[-1])


def _spread(url: str) -> float:
    """0.85 to 1.15, the same for a URL at all times: what was found together does not stay together."""
    return 1 + JITTER * (plan.hash63(url) / 2**62 - 1)


# -- what time and people do ---------------------------------------------------------------------------------------


def lapses_at(state: LinkState) -> int:
    """When a fresh link will be stale, unless it is verified before; 0: never.

    Intervals count as long as jitter may make them: the plan of one day is kept by daily runs after two.
    """
    if state.verdict != "fresh" or state.by_hand:
        return 0
    return state.verified_at + round(2 * state.interval_days * DAY_S * (1 + JITTER))


def lapse(state: LinkState, now: int) -> LinkState:
    """A fresh link that was not verified within two planned intervals is stale, since then; others stay as they are."""
    at = lapses_at(state)
    return structs.replace(state, verdict="stale", since_at=at) if 0 < at <= now else state


def mark(url: str, state: LinkState, verdict: Verdict, now: int, *, in_feed: bool = True) -> LinkState:
    """The operator's verdict, which stands until `unmark`. What is dead or excluded by hand is looked at seldom."""
    days = max(state.interval_days, STEPS_DAYS[0])
    if verdict == "excluded" or not in_feed:
        days = POLICY.unused_days
    elif verdict == "dead":
        days = DEAD_STEPS_DAYS[0]
    elif state.verdict in ("dead", "excluded"):
        days = STEPS_DAYS[0]
    new = structs.replace(_entered(state, verdict, now), by_hand=verdict, interval_days=days)
    return structs.replace(new, next_check_at=next_check_at(url, new, now, in_feed=in_feed))


def unmark(url: str, state: LinkState, now: int) -> LinkState:
    """Takes the operator's verdict back: what checks have found holds, and the link is checked at once."""
    if not state.by_hand:
        return state
    new = structs.replace(_entered(state, _found(state, now), now), by_hand="")
    return structs.replace(new, next_check_at=first_check_at(url, now))
