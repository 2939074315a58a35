"""Alerts about the forecasts themselves: one per group of items, and one about the sessions, of a site.

Raised and let go by ``planner.learning.drift``. It is an information: nothing is to be ordered because of it, but a
person may know why (a new doctor, a holiday, a protocol given up) and correct the catalogue. As the other alerts it is
one per episode, revised only when what it says changes (more than forecast, less, or beyond the quantiles), silent once
a person closed it, and resolved by itself.
"""

from __future__ import annotations

from datetime import datetime

from planner.catalogue.index import Catalogue
from planner.learning.drift import Drift
from planner.learning.scores import SESSIONS, group_series
from planner.messages import Alert, AlertKind, AlertState
from planner.reorder import texts
from planner.reorder.alerts import alert_key, episode_of, put, revised
from planner.reorder.words import percent
from planner.site.state import SiteState


def review_drift(state: SiteState, catalogue: Catalogue, now: datetime, cause: str | None) -> list[Alert]:
    """Bring the alerts about drift up to date; the new revisions, which are also in ``state.alerts``.

    Made twice it gives nothing the second time. The scores change once per site-day.
    """
    subjects = {SESSIONS: SESSIONS} | {group: group_series(group) for group in catalogue.groups}
    for alert in state.alerts.values():
        if alert.kind is AlertKind.FORECAST_DRIFT and alert.cause_persists:
            subjects.setdefault(alert.item, group_series(alert.item))  # a group that the catalogue has no more
    revisions = (_settle(state, catalogue, now, cause, s, subjects[s]) for s in sorted(subjects))
    return [alert for alert in revisions if alert is not None]


def _settle(  # noqa: PLR0917 (what a review is of, and its subject)
    state: SiteState, catalogue: Catalogue, now: datetime, cause: str | None, subject: str, series: str
) -> Alert | None:
    """Open, revise, wake or resolve the alert about one subject; None when nothing is to be published."""
    key = alert_key(subject, AlertKind.FORECAST_DRIFT)
    last = state.alerts.get(key)
    standing = last if last is not None and last.cause_persists else None
    found = state.learned.scores.drift(series, standing=standing is not None)
    if found is None:
        return None if standing is None else put(state, key, _over(standing, _name(catalogue, subject), now, cause))
    description = _describe(found, _name(catalogue, subject))
    if standing is None:
        opened = Alert(
            alert_id=f"{state.site}/{key}/{1 if last is None else episode_of(last) + 1}",
            revision=1,
            site=state.site,
            item=subject,
            kind=AlertKind.FORECAST_DRIFT,
            severity="info",
            state=AlertState.OPEN,
            opened_at=now,
            updated_at=now,
            cause_event_id=cause,
            summary=description.summary,
            reasons=description.reasons,
            catalogue_version=catalogue.version,
        )
        return put(state, key, opened)
    until = standing.snoozed_until
    wakes = standing.state is AlertState.SNOOZED and until is not None and catalogue.site_day(state.site, now) >= until
    other = standing.reasons.get("direction") != description.reasons["direction"]
    if not wakes and (not other or standing.state in {AlertState.SNOOZED, AlertState.RESOLVED}):
        return None
    changed = revised(
        standing,
        now,
        cause,
        state=AlertState.OPEN,
        snoozed_until=None,
        summary=description.summary,
        reasons=description.reasons,
        catalogue_version=catalogue.version,
    )
    return put(state, key, changed)


def _name(catalogue: Catalogue, subject: str) -> str:
    group = catalogue.groups.get(subject)
    return "Sessions" if subject == SESSIONS else subject if group is None else group.name


def _describe(found: Drift, name: str) -> texts.Description:
    more = found.recent_bias > 0
    direction = "spread" if found.spread else "more" if more else "less"
    said = f"{name}: recent totals over {found.lead} day{'' if found.lead == 1 else 's'} came to "
    said += f"{percent(abs(found.recent_bias))} {'more' if more else 'less'} than was forecast"
    if found.spread:
        said += ", and more of them than usual to more than what was called hardly exceeded"
    summary = (
        f"{said}; that is not how it used to be. The planner follows by itself and allows for more until then: "
        "is something new at the site that the catalogue should say?"
    )
    reasons: texts.Figures = {
        "direction": direction,
        "lead_days": found.lead,
        "recent_bias": found.recent_bias,
        "cumulative_sum": found.size,
    }
    return texts.Description(summary, reasons)


def _over(alert: Alert, name: str, now: datetime, cause: str | None) -> Alert:
    closed = alert.state is AlertState.RESOLVED
    return revised(
        alert,
        now,
        cause,
        state=AlertState.RESOLVED,
        resolved_by_event_id=alert.resolved_by_event_id if closed else cause,
        cause_persists=False,
        summary=texts.gone(alert, name, cause),
        snoozed_until=None,
    )
