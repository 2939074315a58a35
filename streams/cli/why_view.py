"""An explanation for a terminal, from the decision down to the bookings."""

from __future__ import annotations

from rich.text import Text

from planner.explain.model import Explanation
from planner.messages import Alert, AlertState
from streams.cli.base import stdout
from streams.cli.tables import SEVERITY_STYLES, cell, instant, number, percent, plain, risk_style, show, table


def show_explanation(found: Explanation, bookings_shown: int) -> None:
    """Print all of it."""
    console = stdout()
    heading = Text(f"{plain(found.item_name)} at {plain(found.site_name)}", style="bold")
    show(console, heading, f"{plain(found.site)} {plain(found.item)}, as of {instant(found.as_of)}, "
         f"catalogue {plain(found.catalogue_version)}")  # fmt: skip
    if found.controlled:
        show(console, Text("A controlled item: it is proposed, and ordered by a person.", style="yellow"))
    show(console, "")
    _alert(found)
    _decision(found)
    _figures(found)
    _supply(found)
    _need(found, bookings_shown)


def _alert(found: Explanation) -> None:
    console = stdout()
    if found.alert is None:
        show(console, Text("There is no alert about it.", style="green"))
    else:
        show(console, _alert_line(found.alert))
        for line in found.history:
            show(console, f"  {plain(line)}")
    for alert in found.other_alerts:
        if alert.state is not AlertState.RESOLVED:
            show(console, Text("Also: "), _alert_line(alert))
    show(console, "")


def _alert_line(alert: Alert) -> Text:
    line = Text(f"{alert.severity} ", style=SEVERITY_STYLES[alert.severity])
    line.append(f"{alert.kind.value}, {alert.state.value}: {plain(alert.summary)}", style="")
    line.append(f"  [{plain(alert.alert_id)} r{alert.revision}]", style="dim")
    return line


def _decision(found: Explanation) -> None:
    console = stdout()
    for verdict in found.decision.verdicts:
        line = Text("● " if verdict.raised else "○ ", style="bold red" if verdict.raised else "green")
        line.append(f"{verdict.kind.value}: ", style="bold")
        line.append(plain(verdict.words))
        if verdict.to_change:
            line.append(f" {plain(verdict.to_change)}", style="dim")
        show(console, line)
    decision = found.decision
    numbers = ("need, mean", "at service level", "− supply", "= wanted", "to order")
    sums = table("through", *numbers, "risk", "allowed", title="The decision", right=numbers)
    sums.add_row(
        cell(decision.decisive_day), cell(number(decision.need_mean)), cell(number(decision.need_quantile)),
        cell(number(decision.supply)), cell(number(decision.needed)), cell(decision.quantity, "bold"),
        cell(percent(decision.risk), risk_style(decision.risk)), cell(percent(decision.allowed_risk)),
    )  # fmt: skip
    show(console, "", sums)


def _figures(found: Explanation) -> None:
    dates = found.dates
    made = table("", "today", "this chance", "arrives", "next chance", "arrives", "must last until", "last safe order",
                 title="Dates of orders")  # fmt: skip
    made.add_row(
        cell(""), cell(dates.today), cell(f"{dates.chance} until {dates.cutoff:%H:%M %Z}"), cell(dates.arrives),
        cell(dates.next_chance), cell(dates.next_arrives), cell(dates.covers_until),
        cell(dates.last_safe_order_date or "beyond the horizon"),
    )  # fmt: skip
    policy = table("figure", "value", "source", title="Policy and catalogue")
    for figure in found.policy:
        if figure.value is not None and figure.value != "":
            value = number(figure.value, 3) if isinstance(figure.value, float) else figure.value
            policy.add_row(cell(figure.name), cell(f"{value} {figure.unit}".strip()), cell(figure.source))
    show(stdout(), made, policy)
    if found.learned:
        show(stdout(), Text("Learned here", style="bold"))
        for fact in found.learned:
            show(stdout(), f"  {plain(fact.words)}")


def _supply(found: Explanation) -> None:
    lots = table("lot", "expiry", "quantity", "counts", "why", "will be left", title="Stock by lot",
                 right=["quantity", "will be left"])  # fmt: skip
    for lot in found.lots:
        lots.add_row(
            cell(lot.lot), cell(lot.expiry), cell(lot.quantity), _yes(lot.usable), cell(lot.why),
            cell(number(lot.expected_unused)),
        )  # fmt: skip
    orders = table(
        "order", "supplier", "outstanding", "expected", "in time", "why", title="Orders", right=["outstanding"]
    )
    for order in found.orders:
        orders.add_row(
            cell(order.order_id), cell(order.supplier), cell(order.outstanding), cell(order.expected),
            _yes(order.in_time), cell(order.why),
        )  # fmt: skip
    parts = table("supply", "containers", title=f"Supply through {found.decision.decisive_day}", right=["containers"])
    for part in found.supply:
        parts.add_row(cell(part.name), cell(number(part.containers)))
    parts.add_row(cell("together", "bold"), cell(number(found.decision.supply), "bold"))
    console = stdout()
    show(console, lots if found.lots else "No lots on the shelf.")
    for opened in found.open_containers:
        state = "" if opened.usable else ", not usable"
        left = f"{number(opened.remaining_ml)} mL left, until {instant(opened.use_by)}"
        show(console, f"Open container of lot {plain(opened.lot)}: {left}{state}")
    show(console, orders if found.orders else "No orders outstanding.", parts)


def _yes(answer: bool) -> Text:
    return cell("yes") if answer else cell("no", "red")


def _need(found: Explanation, bookings_shown: int) -> None:
    console = stdout()
    need = found.need
    parts = table("need", "mean", "variance", title=f"Need through {need.through}", right=["mean", "variance"])
    parts.add_row(
        cell(f"{len(found.bookings)} booked sessions"), cell(number(need.firm_mean)), cell(number(need.firm_variance))
    )
    for part in found.to_come:
        what = f"{number(part.sessions)} sessions of {part.protocol} not yet booked"
        parts.add_row(cell(what), cell(number(part.expected)), cell(""))
    if found.unexplained:
        parts.add_row(cell("what no booking explains"), cell(number(found.unexplained)), cell(""))
    parts.add_row(
        cell("not yet booked, together"), cell(number(need.to_come_mean)), cell(number(need.to_come_variance))
    )
    parts.add_row(cell("together", "bold"), cell(number(need.mean), "bold"), cell(number(need.variance)))
    parts.add_row(cell("hardly exceeded (service level)"), cell(number(need.quantile)), cell(""))
    show(console, parts)
    unit = found.counted_in
    bookings = table("booking", "start", "status", "protocol", f"mean, {unit}", "at most", "kept", "expected",
                     title="Bookings", right=[f"mean, {unit}", "at most", "kept", "expected"])  # fmt: skip
    for booking in found.bookings[:bookings_shown]:
        bookings.add_row(
            cell(booking.booking_id), cell(instant(booking.start)), cell(booking.status),
            cell(f"{booking.protocol} v{booking.protocol_version}"), cell(number(booking.mean, 2)),
            cell(number(booking.maximum)), cell(percent(booking.probability_kept)), cell(number(booking.expected, 2)),
        )  # fmt: skip
    if found.bookings and bookings_shown:
        show(console, bookings)
    if len(found.bookings) > bookings_shown:
        show(console, f"… and {len(found.bookings) - bookings_shown} more (--bookings, --json)")
