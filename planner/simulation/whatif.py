"""What if: a catalogue with something changed, and a site's own bookings walked through as it is and as it would be.

The days are those of the log (``planner.simulation.whatif_log``): who came is as it was. What each booking used and how
late suppliers deliver is drawn, by booking and by item and day, so that both walks see the same patients and the same
luck (common random numbers); only what was changed differs. The planner runs its real steps in both
(``planner.simulation.planner_policy``), from empty books at the beginning of the warm-up; the shelf holds some weeks'
use then, no emergency stock is kept, and orders leave at the end of the day whatever the supplier's cutoff.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Final, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import stats

from planner.catalogue.check import check_bundle
from planner.catalogue.digest import version_of
from planner.catalogue.model import Bundle, Item, Policy, Protocol, Site, Supplier
from planner.learning.lateness import Lateness
from planner.simulation.book import Streams
from planner.simulation.clinic import SiteClinic, clinics_of
from planner.simulation.compare import Mapper
from planner.simulation.measure import Run, run_of
from planner.simulation.planner_policy import PlannerPolicy
from planner.simulation.real_book import RealBookings, real_book, with_real_items
from planner.simulation.scenario import Costs, Scenario
from planner.simulation.whatif_log import SiteLog, Window, left_out, real_bookings, vary
from planner.simulation.world import Fate, SiteWorld

Floats = npt.NDArray[np.float64]
Entity = TypeVar("Entity", Item, Supplier, Protocol, Site)
Measure = Literal["cycle", "fill", "session"]
LEAST_SHARE, MOST_SHARE = -0.9, 1.0
"""Bookings left out at most, and told twice at most."""
_CONFIDENCE = 0.95


class CannotAsk(ValueError):  # noqa: N818 - named after what it says
    """The question does not fit the catalogue: field, value, and what was expected."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is otherwise. Absent, empty or 0: as it is."""

    service_level: Decimal | None = None
    """Instead of the site's policy's; an item with a level of its own keeps it. Money lost by shortage
    (``shortage_cost``) does not stand in its place then."""
    service_measure: Measure | None = None
    lead_times: tuple[tuple[str, int], ...] = ()
    """Item or supplier → stated lead time in calendar days."""
    suppliers: tuple[tuple[str, str], ...] = ()
    """Item → who supplies it, with that supplier's lead time. Price and packs stay."""
    protocols: tuple[tuple[str, int], ...] = ()
    """Protocol → the version of it that is in force on all days."""
    bookings: float = 0.0
    """Share of bookings more (0.2) or fewer (−0.1)."""


# --- the catalogue ------------------------------------------------------------------------------------------


def changed_bundle(bundle: Bundle, site: str, changes: Changes) -> Bundle:
    """The catalogue with the changes, checked.

    Raises:
        CannotAsk: an id or version that is not there, a value that cannot be, or nothing is changed.
    """
    if not LEAST_SHARE <= changes.bookings <= MOST_SHARE:
        raise CannotAsk(
            f"bookings: found {changes.bookings:+.0%}; expected from {LEAST_SHARE:+.0%} to {MOST_SHARE:+.0%}"
        )
    changed = bundle.model_copy(
        update={
            "policies": _policies(bundle, _one(bundle.sites, "site", site), changes),
            **_supply(bundle, changes),
            "protocols": _protocols(bundle, changes),
        }
    )
    changed = changed.model_copy(update={"version": version_of(changed)})
    if changed.version == version_of(bundle) and not changes.bookings:
        raise CannotAsk("nothing is changed: all that was asked for is so already; expected something else")
    faults = check_bundle(changed)
    if faults:
        raise CannotAsk("; ".join(f"{fault.field}: found {fault.value}; expected {fault.expected}" for fault in faults))
    return changed


def _one(entities: Iterable[Entity], field: str, name: str) -> Entity:
    known = {entity.id: entity for entity in entities}
    if name not in known:
        raise CannotAsk(f"{field}: found {name!r}; expected one of the catalogue's: {', '.join(sorted(known))}")
    return known[name]


def _policies(bundle: Bundle, site: Site, changes: Changes) -> tuple[Policy, ...]:
    fields: dict[str, object] = {}
    if changes.service_level is not None:
        if not 0 < changes.service_level < 1:
            raise CannotAsk(f"service-level: found {changes.service_level}; expected above 0 and below 1")
        fields |= {"service_level": changes.service_level, "shortage_cost": None}
    if changes.service_measure is not None:
        fields["service_measure"] = changes.service_measure
    return tuple(policy.model_copy(update=fields) if policy.id == site.policy else policy for policy in bundle.policies)


def _supply(bundle: Bundle, changes: Changes) -> dict[str, object]:
    items = {item.id: item for item in bundle.items}
    suppliers = {supplier.id: supplier for supplier in bundle.suppliers}
    for name, to in changes.suppliers:
        item = _one(bundle.items, "supplier: item", name)
        supplier = _one(bundle.suppliers, f"supplier: {name}", to)
        if supplier.id != item.supplier:
            # a lead time of its own was that of the supplier before
            items[name] = item.model_copy(update={"supplier": supplier.id, "lead_time_days": None})
    for name, days in changes.lead_times:
        if name in items and name in suppliers:
            raise CannotAsk(f"lead-time: found {name!r}, an item and a supplier; expected a name of only one")
        if not 0 <= days <= 365:
            raise CannotAsk(f"lead-time: {name}: found {days}; expected from 0 to 365 days")
        if name in items:
            items[name] = items[name].model_copy(update={"lead_time_days": days})
        elif name in suppliers:
            suppliers[name] = suppliers[name].model_copy(update={"lead_time_days": days})
        else:
            raise CannotAsk(
                f"lead-time: found {name!r}; expected an item of the catalogue (planner catalogue show lists them) or "
                f"a supplier: {', '.join(sorted(suppliers))}"
            )
    return {"items": tuple(items.values()), "suppliers": tuple(suppliers.values())}


def _protocols(bundle: Bundle, changes: Changes) -> tuple[Protocol, ...]:
    wanted = dict(changes.protocols)
    for name in wanted:
        _one(bundle.protocols, "protocol", name)
    return tuple(
        _always(protocol, wanted[protocol.id]) if protocol.id in wanted else protocol for protocol in bundle.protocols
    )


def _always(protocol: Protocol, number: int) -> Protocol:
    """The protocol with one version in force on all days on which it was given at all."""
    found = {version.version: version for version in protocol.versions}
    if number not in found:
        versions = ", ".join(map(str, sorted(found)))
        raise CannotAsk(f"protocol: {protocol.id}: found version {number}; expected one of {versions}")
    first = min(version.effective_from for version in protocol.versions)
    always = found[number].model_copy(update={"effective_from": first, "effective_to": None})
    return protocol.model_copy(update={"versions": (always,)})


# --- the walk ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Walk:
    """One walk through the days of a log; can be pickled."""

    bundle: Bundle
    log: SiteLog
    real: RealBookings
    lateness: Lateness
    """How late suppliers deliver, as the site has learned it (or, empty, as the catalogue states)."""
    seed: int

    def clinic(self) -> SiteClinic:
        """The site with its own policy, from the first day of the window on.

        Raises:
            ValueError: the catalogue expects no sessions at the site, or a protocol of them is not in force.
        """
        policy = next(p for p in self.bundle.policies if p.id == _one(self.bundle.sites, "site", self.log.site).policy)
        made = clinics_of(_scenario(self.log.site, self.log.window, costs_of(policy)), self.bundle)[0]
        made = with_real_items(made.with_policy(**policy.model_dump()), self.real)
        return replace(made, use_per_week=_use_per_week(self.real, self.log, made))

    def fate(self) -> Fate:
        """All that is drawn of the days."""
        clinic = self.clinic()
        book = real_book(clinic, self.real, Streams.of(self.seed, 0), use_of=partial(_generator, self.seed, "use"))
        return Fate(clinic, self.seed, book, _late_days(clinic, self.lateness, self.seed))

    def run(self) -> Run:
        """Walk. Deterministic."""
        fate = self.fate()
        clinic = fate.clinic
        totals = SiteWorld(fate).run(PlannerPolicy(clinic))
        return run_of("planner", self.seed, {clinic.site: totals}, {clinic.site: clinic.items}, clinic.scenario.costs)


def _run(walk: Walk) -> Run:
    return walk.run()


def costs_of(policy: Policy) -> Costs:
    """What stock and order lines cost: as the policy says, where it does, else as scenarios assume."""
    known: dict[str, float] = {}
    if policy.holding_cost_per_year is not None:
        known["holding_per_year"] = float(policy.holding_cost_per_year)
    if policy.order_line_cost is not None:
        known["order_line"] = float(policy.order_line_cost)
    return Costs.model_validate(known)


def _scenario(site: str, window: Window, costs: Costs) -> Scenario:
    return Scenario.model_validate(
        {
            "id": "whatif",
            "title": f"The bookings of {site}",
            "sites": {"sites": [site]},
            # nothing is drawn from it: the bookings are those of the log
            "bookings": {"ahead": [{"share": 1, "days": [0, 28]}], "first_day": window.first_day},
            "costs": costs,
            "horizon": {"warm_up_days": window.warm_up_days, "days": window.days},
        }
    )


def _use_per_week(real: RealBookings, log: SiteLog, clinic: SiteClinic) -> dict[str, float]:
    """Item → mean use a week of the window's sessions: containers, mL of multi-dose items."""
    total: dict[str, float] = {}
    for name, booking in real.of(log.site).items():
        if booking.start is not None and clinic.catalogue.site_day(log.site, booking.start) <= log.window.last_day:
            for line in real.lines.get(name, ()):
                if line.item is not None:
                    total[line.item] = total.get(line.item, 0.0) + float(line.mean)
    weeks = (log.window.warm_up_days + log.window.days) / 7
    return {item: amount / weeks for item, amount in total.items()}


def _generator(seed: int, what: str, name: str) -> np.random.Generator:
    """A generator for one thing in the world of a seed: what else is in the world does not change it."""
    digest = hashlib.blake2b(f"{what}/{name}".encode(), digest_size=8).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "big")])


def _late_days(clinic: SiteClinic, lateness: Lateness, seed: int) -> npt.NDArray[np.int64]:
    """Working days that a line ordered on a day comes late; shape (items, days): by inversion, from a number for each
    item and day that is the same whoever supplies it."""
    late = np.zeros((len(clinic.items), clinic.scenario.days), np.int64)
    for row, facts in enumerate(clinic.items.values()):
        within = np.cumsum(lateness.late_probabilities(clinic.catalogue.suppliers[facts.supplier]))
        drawn = _generator(seed, "late", facts.id).random(clinic.scenario.days)
        late[row] = np.minimum(within.searchsorted(drawn, side="right"), within.size - 1)
    return late


# --- the comparison -----------------------------------------------------------------------------------------


class Figure(NamedTuple):
    """Something that is measured of a walk."""

    name: str
    said: str
    """For a reader, with its unit."""
    of: Callable[[Run], float]


def _fill(run: Run) -> float:
    wanted = sum(item.wanted for item in run.items.values())
    return 1 - sum(item.short for item in run.items.values()) / wanted if wanted else 1.0


def _sum(name: str, run: Run) -> float:
    return sum(float(getattr(item, name)) for item in run.items.values())


FIGURES: Final[tuple[Figure, ...]] = (
    Figure("fill", "fill rate (of containers)", _fill),
    Figure("session_service", "sessions complete (share)", lambda run: run.session_service),
    Figure("sessions", "sessions", lambda run: run.sessions),
    Figure("sent_home", "sessions sent home", lambda run: run.sent_home),
    Figure("mean_value", "mean stock value", lambda run: run.mean_value),
    Figure("expired", "expired (containers)", partial(_sum, "expired")),
    Figure("open_waste", "open containers wasted", partial(_sum, "open_waste")),
    Figure("waste_cost", "waste (money)", lambda run: run.waste_cost),
    Figure("orders", "orders", lambda run: run.orders),
    Figure("lines", "order lines", lambda run: run.lines),
    Figure("ordered", "ordered (containers)", partial(_sum, "ordered")),
    Figure("money", "money: holding, order lines, waste", lambda run: run.money),
)
"""What is told of a walk, in this order. Over all measured days; money in the currency of the prices."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure as it is and as it would be (means over the runs), and their difference with its 95 % interval.

    The interval is Student's, of the mean of the differences of pairs (A. M. Law, *Simulation Modeling and Analysis*,
    5th ed., 2015, §10.2.1); NaN with a single run.
    """

    figure: Figure
    before: float
    after: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """After − before."""
        return self.after - self.before


def difference(figure: Figure, before: Sequence[Run], after: Sequence[Run]) -> Difference:
    """Compare runs in pairs of the same seed."""
    first, second = (np.array([figure.of(run) for run in runs], np.float64) for runs in (before, after))
    half = math.nan
    if first.size > 1:
        gap = second - first
        quantile = float(stats.t.ppf((1 + _CONFIDENCE) / 2, gap.size - 1))
        half = quantile * float(gap.std(ddof=1)) / math.sqrt(gap.size)
    mean = float(np.mean(second - first))
    return Difference(figure, float(first.mean()), float(second.mean()), mean - half, mean + half)


@dataclass(frozen=True, slots=True)
class WalkedThrough:
    """The last days of a site's log, as it is and as it would be."""

    window: Window
    seeds: tuple[int, ...]
    before: tuple[Run, ...]
    after: tuple[Run, ...]
    left_out: tuple[int, int]
    """Completed sessions that the catalogue cannot expand, as it is and as it would be (of one run)."""

    def differences(self) -> list[Difference]:
        """Each of ``FIGURES``."""
        return [difference(figure, self.before, self.after) for figure in FIGURES]


def walk_through(
    bundle: Bundle,
    changed: Bundle,
    changes: Changes,
    log: SiteLog,
    *,
    lateness: Lateness,
    seeds: Sequence[int],
    mapper: Mapper = map,
    tell: Callable[[int, int], None] = lambda _done, _all: None,
) -> WalkedThrough:
    """Walk through the log's days under both catalogues, with each seed.

    Args:
        changed: ``changed_bundle(bundle, …)``.
        lateness: of the site, or an empty one.
        tell: is told how many walks are done, of how many.

    Raises:
        ValueError: the site cannot be simulated (it expects no sessions).
    """
    real = real_bookings(log.lines, bundle)
    if changes.bookings:
        told = [vary(log.lines, changes.bookings, seed) for seed in seeds]
        others = [real_bookings(lines, changed) for lines in told]
    else:
        told, others = [log.lines], [real_bookings(log.lines, changed)] * len(seeds)
    walks = [Walk(bundle, log, real, lateness, seed) for seed in seeds]
    walks += [Walk(changed, log, other, lateness, seed) for other, seed in zip(others, seeds, strict=True)]
    runs: list[Run] = []
    for run in mapper(_run, walks):
        runs.append(run)
        tell(len(runs), len(walks))
    lost = left_out(log.lines, real), left_out(told[0], others[0])
    return WalkedThrough(log.window, tuple(seeds), tuple(runs[: len(seeds)]), tuple(runs[len(seeds) :]), lost)
