"""Shows what became of the events that a command has sent."""

from __future__ import annotations

import click
import orjson

from streams.cli.base import stdout
from streams.cli.sending import Answer, Tally
from streams.cli.tables import STATUS_STYLES, cell, show, table

FAULTS_SHOWN = 20
UNANSWERED_SHOWN = 5


def answer_json(answer: Answer) -> bytes:
    """An answer as a JSON text."""
    body = {name: value for name, value in answer._asdict().items() if value is not None}
    return orjson.dumps(body)


def tally_json(tally: Tally) -> bytes:
    """The sum of all answers as a JSON text."""
    return orjson.dumps(
        {
            "sent": tally.sent,
            "unanswered": len(tally.waiting),
            **dict(sorted(tally.statuses.items())),
            "reasons": {f"{status}/{reason}": n for (status, reason), n in sorted(tally.reasons.items()) if reason},
        }
    )


def show_tally(tally: Tally, timeout_s: float) -> None:
    """The faults one by one, then how many came to which end."""
    console = stdout()
    if tally.answers:
        faults = table("where", "event", "became", "reason", "detail")
        for answer in tally.answers[:FAULTS_SHOWN]:
            style = STATUS_STYLES[answer.status]
            faults.add_row(
                cell(answer.label), cell(answer.event_id), cell(answer.status, style), cell(answer.reason),
                cell(answer.detail),
            )  # fmt: skip
        show(console, faults)
        faulty = tally.statuses["refused"] + tally.statuses["dead-lettered"]
        if faulty > FAULTS_SHOWN:
            show(console, f"… and {faulty - FAULTS_SHOWN:,} more; --json tells all of them")
    counts = ", ".join(
        f"{tally.statuses[status]:,} {status}"
        for status in ("applied", "duplicate", "refused", "dead-lettered")
        if tally.statuses[status]
    )
    show(console, f"{tally.sent:,} sent" + (f": {counts}" if counts else ""))
    reasons = [(reason, n) for (status, reason), n in tally.reasons.most_common() if reason and status == "refused"]
    if len(reasons) > 1:
        show(console, "refused: " + ", ".join(f"{n:,} {reason}" for reason, n in reasons))
    if tally.waiting:
        first = ", ".join(list(tally.waiting.values())[:UNANSWERED_SHOWN])
        click.echo(
            f"planner: {len(tally.waiting):,} had no outcome for {timeout_s:g} s ({first}"
            f"{', …' if len(tally.waiting) > UNANSWERED_SHOWN else ''}). They are on the log and will be answered once"
            " a worker runs (planner run).",
            err=True,
        )
