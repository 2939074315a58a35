"""From a scenario to the clinics that are simulated: one for each site, with its catalogue, sessions and items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from planner.catalogue.digest import version_of
from planner.catalogue.index import Catalogue
from planner.catalogue.model import WEEKDAYS, Bundle, Policy
from planner.events.bookings import Parameters
from planner.expansion.expand import expand
from planner.messages import RequirementLine
from planner.simulation.scenario import Ahead, ClinicItem, Scenario, SessionKind

FIRST_DAY = date(2026, 1, 5)
"""A Monday."""
OWN_SITE = "clinic"
_SUPPLIER = "supplier"
_POLICY = "standard"
_SESSION_MINUTES = 60
_CUTOFF = "17:00"
"""After ``planner.simulation.book.ORDERED_AT``: what is ordered at the end of a day leaves on it."""
_SERIES_SHARE = 0.75
_OTHERS_AHEAD_DAYS = (0, 14)

Floats = npt.NDArray[np.float64]
Lines = tuple[RequirementLine, ...]


@dataclass(frozen=True, slots=True)
class SessionType:
    """Sessions of a protocol at a site: how many take place by weekday (mean), when they are booked, what they take."""

    protocol: str
    parameters: Parameters
    per_weekday: tuple[float, ...]
    ahead: tuple[Ahead, ...]
    minutes: int
    lines: Lines
    items: tuple[str, ...]
    """Those of the lines that are stocked."""


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """What a policy may know of an item. Quantities in containers, money for one container, days are calendar days."""

    id: str
    price: float
    multiple: int
    minimum: int
    lead_days: int
    """As the supplier states it, without any allowance."""
    shelf_life_days: int
    order_weekdays: frozenset[int]
    supplier: str


@dataclass(frozen=True, slots=True)
class SiteClinic:
    """A site of a scenario."""

    scenario: Scenario
    catalogue: Catalogue
    site: str
    number: int
    """Of the site in its scenario, from 0: part of its seed."""
    types: tuple[SessionType, ...]
    items: dict[str, ItemFacts]
    """Every item that a session may take, in order of id."""
    first_day: date = FIRST_DAY
    use_per_week: Mapping[str, float] | None = None
    """What ``mean_use_per_week`` says, where a book knows better than what the site expects."""

    @property
    def open_weekdays(self) -> frozenset[int]:
        """Weekdays on which sessions take place."""
        return frozenset(day for day in range(7) if any(kind.per_weekday[day] > 0 for kind in self.types))

    def mean_use_per_week(self) -> dict[str, float]:
        """Item → containers that the sessions expected in a week take on average (mL for multi-dose items)."""
        if self.use_per_week is not None:
            return {item: self.use_per_week.get(item, 0.0) for item in self.items}
        total = dict.fromkeys(self.items, 0.0)
        for kind in self.types:
            for line in kind.lines:
                if line.item is not None:
                    total[line.item] += float(line.mean) * sum(kind.per_weekday)
        return total

    def with_policy(self, **changes: Any) -> SiteClinic:
        """The same clinic under a policy with other fields (``service_level=Decimal("0.95")``)."""
        bundle = self.catalogue.bundle
        name = self.catalogue.sites[self.site].policy
        policies = tuple(
            Policy.model_validate({**policy.model_dump(), **changes}) if policy.id == name else policy
            for policy in bundle.policies
        )
        changed = bundle.model_copy(update={"policies": policies})
        return replace(self, catalogue=Catalogue(changed.model_copy(update={"version": version_of(changed)})))

    def with_service_levels(self, levels: Mapping[str, Decimal]) -> SiteClinic:
        """The same clinic with service levels of its items' own."""
        bundle = self.catalogue.bundle
        items = tuple(i.model_copy(update={"service_level": levels.get(i.id, i.service_level)}) for i in bundle.items)
        changed = bundle.model_copy(update={"items": items})
        return replace(self, catalogue=Catalogue(changed.model_copy(update={"version": version_of(changed)})))


def clinics_of(scenario: Scenario, bundle: Bundle) -> tuple[SiteClinic, ...]:
    """The clinics of a scenario.

    Args:
        bundle: a checked catalogue: the scenario's sites are of it; of a scenario with a clinic of its own, the
            policy ``standard`` is, with its priors about bookings.

    Raises:
        ValueError: a site that the catalogue lacks, or one that expects no sessions.
    """
    if scenario.clinic is not None:
        bundle = _own_bundle(scenario, bundle)
        return (_site(scenario, Catalogue(bundle), OWN_SITE, 0),)
    wanted = scenario.sites.sites if scenario.sites is not None else ()
    catalogue = Catalogue(_as_simulated(scenario, bundle))
    for site in wanted:
        if site not in catalogue.sites:
            raise ValueError(f"sites.sites: found {site!r}; expected of {', '.join(catalogue.sites)}")
        if not catalogue.sites[site].expected_sessions:
            raise ValueError(f"sites.sites: {site} expects no sessions; expected a site with expected_sessions")
    return tuple(_site(scenario, catalogue, site, number) for number, site in enumerate(wanted))


def _site(scenario: Scenario, catalogue: Catalogue, site: str, number: int) -> SiteClinic:
    types = tuple(_types(scenario, catalogue, site))
    used = sorted({item for kind in types for item in kind.items})
    return SiteClinic(
        scenario=scenario,
        catalogue=catalogue,
        site=site,
        number=number,
        types=types,
        items={item: item_facts(catalogue, item) for item in used},
        first_day=scenario.bookings.first_day or FIRST_DAY,
    )


def item_facts(catalogue: Catalogue, item_id: str) -> ItemFacts:
    """An item as policies see it."""
    item = catalogue.items[item_id]
    supplier = catalogue.supplier_of(item_id)
    stated = item.lead_time_days
    return ItemFacts(
        id=item_id,
        price=float(item.price or 0),
        multiple=item.order_multiple,
        minimum=item.minimum_order,
        lead_days=supplier.lead_time_days if stated is None else stated,
        shelf_life_days=item.shelf_life_days,
        order_weekdays=frozenset(WEEKDAYS.index(day) for day in supplier.order_days),
        supplier=supplier.id,
    )


def _types(scenario: Scenario, catalogue: Catalogue, site: str) -> list[SessionType]:
    own = {kind.id: kind.ahead for kind in scenario.clinic.kinds} if scenario.clinic is not None else {}
    day = scenario.bookings.first_day or FIRST_DAY
    types = []
    for expected in catalogue.sites[site].expected_sessions:
        version = catalogue.protocol_version(expected.protocol, day)
        if version is None:
            raise ValueError(f"protocol {expected.protocol}: no version is in force on {day}; site {site} expects it")
        parameters = Parameters(weight_kg=expected.typical.get("weight_kg"), hours=expected.typical.get("hours"))
        ahead = own.get(expected.protocol) or scenario.bookings.ahead
        if scenario.clinic is None and version.repeat.kind == "every" and version.repeat.days is not None:
            series = version.repeat.days
            ahead = (
                Ahead(share=_SERIES_SHARE, days=(series, series)),
                Ahead(share=1 - _SERIES_SHARE, days=_OTHERS_AHEAD_DAYS),
            )
        expansion = expand(catalogue, site, expected.protocol, version, parameters, ())
        per_weekday = tuple(float(expected.per_day.get(name, 0)) for name in WEEKDAYS)
        items = tuple(sorted({line.item for line in expansion.lines if line.item is not None}))
        types.append(
            SessionType(
                protocol=expected.protocol,
                parameters=parameters,
                per_weekday=per_weekday,
                ahead=ahead,
                minutes=version.session_minutes,
                lines=expansion.lines,
                items=items,
            )
        )
    return types


# --- a scenario's own clinic ------------------------------------------------------------------------------


def _own_bundle(scenario: Scenario, bundle: Bundle) -> Bundle:
    clinic = scenario.clinic
    if clinic is None:
        raise ValueError(f"scenario {scenario.id} has no clinic of its own")
    standard = next((policy for policy in bundle.policies if policy.id == _POLICY), None)
    if standard is None:
        raise ValueError(f"the catalogue has no policy {_POLICY!r}, which a scenario's own clinic follows")
    policy = _policy(scenario, standard)
    items = [_item(item, clinic.lead_days, clinic.shelf_life_days) for item in clinic.items]
    body = {
        "version": "unversioned",
        "groups": [{"id": "simulated", "name": "Simulated"}],
        "components": [
            {"id": item.id, "name": item.id, "kind": "drug", "filled_by": [{"item": item.id}]} for item in clinic.items
        ],
        "items": items,
        "kits": [],
        "line_kits": {},
        "protocols": [_protocol(kind) for kind in clinic.kinds],
        "suppliers": [
            {
                "id": _SUPPLIER,
                "name": "Supplier",
                "lead_time_days": 0,
                "late_allowance_days": scenario.deliveries.late_allowance_days,
                "order_days": scenario.order_days,
                "cutoff": _CUTOFF,
            }
        ],
        "sites": [
            {
                "id": OWN_SITE,
                "name": "Clinic",
                "timezone": "UTC",
                "policy": _POLICY,
                "first_stick_probability": 1,
                "expected_sessions": [
                    {"protocol": kind.id, "per_day": _per_day(clinic.sessions_per_day * kind.share)}
                    for kind in clinic.kinds
                ],
            }
        ],
        "policies": [policy.model_dump()],
    }
    made = Bundle.model_validate(body)
    return made.model_copy(update={"version": version_of(made)})


def _policy(scenario: Scenario, policy: Policy) -> Policy:
    """A policy that knows what things cost in the scenario, and what service is wanted."""
    costs = scenario.costs
    return Policy.model_validate(
        {
            **policy.model_dump(),
            "service_measure": scenario.service_measure,
            "service_level": str(scenario.service_level),
            "review_period_days": scenario.review_period_days,
            "holding_cost_per_year": str(costs.holding_per_year) if costs.holding_per_year else None,
            "order_line_cost": str(costs.order_line) if costs.order_line and costs.holding_per_year else None,
        }
    )


def _item(item: ClinicItem, lead_days: int | None, shelf_life_days: int | None) -> dict[str, Any]:
    return {
        "id": item.id,
        "name": item.id,
        "group": "simulated",
        "component": item.id,
        "content": "1 each",
        "pack": {"containers": item.pack},
        "shelf_life_days": shelf_life_days or item.shelf_life_days,
        "supplier": _SUPPLIER,
        "lead_time_days": item.lead_days if lead_days is None else lead_days,
        "price": Decimal(str(item.price)),
    }


def _protocol(kind: SessionKind) -> dict[str, Any]:
    lines = [
        {
            "id": f"line-{number}",
            "component": use.item,
            "dose": {"fixed": f"{use.containers} each"},
            "route": "supply",
            **({} if use.probability is None else {"probability": str(use.probability)}),
        }
        for number, use in enumerate(kind.uses, 1)
    ]
    version = {
        "version": 1,
        "effective_from": "2020-01-01",
        "session_minutes": _SESSION_MINUTES,
        "repeat": {"kind": "none"},
        "lines": lines,
    }
    return {"id": kind.id, "name": kind.id, "versions": [version]}


def _per_day(rate: float) -> dict[str, str]:
    return dict.fromkeys(WEEKDAYS[:5], f"{rate:.6f}")


def _as_simulated(scenario: Scenario, bundle: Bundle) -> Bundle:
    """The catalogue as the scenario changes it: cutoffs after the day's last session; order days of all suppliers, if
    it says so; policies that know its costs; and no par stock, which no policy but the planner knows of and no
    simulated session uses."""
    order_days = scenario.deliveries.order_days
    changes: dict[str, object] = {"cutoff": _CUTOFF}
    if order_days is not None:
        changes["order_days"] = order_days
    suppliers = tuple(supplier.model_copy(update=changes) for supplier in bundle.suppliers)
    sites = tuple(site.model_copy(update={"par_stock": ()}) for site in bundle.sites)
    policies = tuple(_policy(scenario, policy) for policy in bundle.policies)
    changed = bundle.model_copy(update={"suppliers": suppliers, "sites": sites, "policies": policies})
    return changed.model_copy(update={"version": version_of(changed)})
