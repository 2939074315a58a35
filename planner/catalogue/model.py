"""What the catalogue's files hold, entity by entity, and the bundle of them that is in force.

Each entity carries ``facts``: for the fields named in ``of``, how sure we are (``found`` in a source,
``computed`` from one, ``assumed``) and where it comes from, so that a pharmacist sees what to check before use.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from planner.base import (
    Containers,
    Identifier,
    Model,
    NonNegative,
    Positive,
    Probability,
    Slug,
    SomeContainers,
    StrictModel,
)
from planner.units import Quantity, Unit

Evidence = Literal["found", "computed", "assumed"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""In the order of ``date.weekday()``."""

_CONCENTRATION = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*/\s*mL\s*$")


def _misfit(field: str, value: object, expected: str) -> PydanticCustomError:
    """Fields that do not fit together; ``field`` is the one a reader should look at."""
    return PydanticCustomError("misfit", "expected {expected}", {"field": field, "value": value, "expected": expected})


class Fact(StrictModel):
    """How sure the fields ``of`` an entity are, and who says so."""

    of: Annotated[tuple[str, ...], Field(min_length=1)]
    evidence: Evidence
    source: Annotated[str, Field(min_length=3)]


class _Entity(StrictModel):
    id: Slug
    name: Annotated[str, Field(min_length=1, max_length=120)]
    facts: tuple[Fact, ...] = ()


class Group(_Entity):
    """A group of items that operations follow together: magnesium sulfate, antiemetic, IV supply, …"""


class Salt(StrictModel):
    """The salt that makes mEq and mmol of a component mean something.

    ``molar_mass_g_per_mol`` is the whole salt's, water of crystallisation included; ``valence`` the charge of the
    ion counted in mEq (2 for magnesium).
    """

    name: str
    molar_mass_g_per_mol: Positive
    valence: Annotated[int, Field(ge=1, le=4)]


class ItemChoice(StrictModel):
    """One item that may fill a component, in order of preference.

    It is passed over when a session would take more than ``up_to_containers`` of it, or, with ``exact``, when the
    dose is not a whole number of containers (a premix bag cannot be split).
    """

    item: Slug
    up_to_containers: SomeContainers | None = None
    exact: bool = False


class Component(_Entity):
    """What a protocol asks for: a substance, or a kind of supply."""

    kind: Literal["drug", "fluid", "supply"]
    salt: Salt | None = None
    filled_by: Annotated[tuple[ItemChoice, ...], Field(min_length=1)]


class Concentration(StrictModel):
    """Amount of the component in each mL; written ``500 mg/mL`` in files."""

    value: Positive
    unit: Literal[Unit.MCG, Unit.MG, Unit.G, Unit.MEQ, Unit.MMOL, Unit.UNIT]

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            match = _CONCENTRATION.match(raw)
            if match is None:
                raise ValueError(f"expected an amount in each mL such as '500 mg/mL', found {raw!r}")
            return {"value": match[1], "unit": match[2]}
        if isinstance(raw, int | float | Decimal):
            raise ValueError(f"expected an amount in each mL such as '500 mg/mL', found {raw} without a unit")
        return raw


class ContainerUse(StrEnum):
    """What may be kept of an opened container: the product's property, not the clinic's."""

    SINGLE_DOSE = "single-dose"
    """The rest is discarded: whole containers per session."""
    MULTI_DOSE = "multi-dose"
    """Pooled between sessions until ``open_hours`` have passed."""


class Code(StrictModel):
    """A code by which others know the item. Text always: NDCs have leading zeros and change (21 CFR 207)."""

    system: Literal["NDC", "GTIN", "RXCUI", "HCPCS", "SKU"]
    value: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{3,20}$")]
    level: Literal["container", "pack"]
    valid_from: date | None = None
    valid_to: date | None = None


class Pack(StrictModel):
    """The carton that is ordered: ``containers`` of the item in it."""

    containers: SomeContainers
    name: str = "carton"


class Item(_Entity):
    """A product in a container: what is stocked and ordered.

    ``content`` is what one container holds and can deliver (overfill is never stock): mL for liquids, mg for
    powders, each for supplies.
    """

    group: Slug
    component: Slug
    content: Quantity
    concentration: Concentration | None = None
    use: ContainerUse = ContainerUse.SINGLE_DOSE
    open_hours: Positive | None = None
    replaces_diluent: bool = False
    """A premix: the bag is the diluent too, and no other is taken."""
    draws: Literal["vial", "ampule", "none"] = "none"
    """How it is drawn up; decides the ancillary supplies of a line."""
    pack: Pack
    codes: tuple[Code, ...] = ()
    atc: Annotated[str, Field(pattern=r"^[A-Z][0-9]{2}([A-Z]([A-Z]([0-9]{2})?)?)?$")] | None = None
    storage: Literal["room", "refrigerated", "frozen"] = "room"
    protect_from_light: bool = False
    shelf_life_days: Annotated[int, Field(gt=0, le=3700)]
    controlled_schedule: Literal["II", "III", "IV", "V"] | None = None
    hazardous: bool = False
    supplier: Slug
    lead_time_days: Annotated[int, Field(ge=0, le=365)] | None = None
    """Instead of the supplier's."""
    minimum_order: Containers = 0
    multiple: SomeContainers | None = None
    """Orders are whole multiples of so many containers; absent: of a pack."""
    price: NonNegative | None = None
    """Of one container, in ``currency``."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    service_level: Annotated[Probability, Field(gt=0, lt=1)] | None = None
    """Instead of the policy's, in its measure: for what may lack less, or more, often than the rest."""

    @property
    def order_multiple(self) -> int:
        return self.multiple or self.pack.containers

    @property
    def counted_in(self) -> Literal["containers", "mL"]:
        """What a requirement counts: whole containers, or mL pooled over sessions for multi-dose ones."""
        return "mL" if self.use is ContainerUse.MULTI_DOSE else "containers"

    @model_validator(mode="after")
    def _multi_dose_has_a_window(self) -> Item:
        if self.use is ContainerUse.MULTI_DOSE and self.open_hours is None:
            raise _misfit("open_hours", None, "the hours for which an opened multi-dose container may be used")
        if self.use is ContainerUse.MULTI_DOSE and self.content.unit is not Unit.ML:
            raise _misfit("content", str(self.content), "a content in mL for a multi-dose container")
        if self.use is ContainerUse.SINGLE_DOSE and self.open_hours is not None:
            raise _misfit("open_hours", str(self.open_hours), "no open_hours: the rest of a single dose is discarded")
        return self


class Supply(StrictModel):
    """So much of a supply component, for a line or for a session.

    ``quantity`` is certain; ``extra_probability`` adds one more at that probability. ``per_attempt`` multiplies
    the quantity by the number of venipunctures (site's ``first_stick_probability``, at most three);
    ``extra_per_restick`` adds one at that probability when the first stick failed.
    """

    component: Slug
    quantity: Containers = 1
    extra_probability: Probability | None = None
    per_attempt: bool = False
    extra_per_restick: Probability | None = None


class Kit(_Entity):
    """A named set of supplies, which may contain other kits (but never, by any way, itself)."""

    supplies: tuple[Supply, ...] = ()
    kits: tuple[Slug, ...] = ()


class Diluent(StrictModel):
    """The fluid a drug is given in: ``volume`` of ``component``, in whole bags."""

    component: Slug
    volume: Quantity


class Dose(StrictModel):
    """How much of a component a session takes: exactly one of the four forms.

    ``fixed``; ``per_kg`` (times weight_kg); ``per_hour`` (times hours); ``per_kg_hour`` (times both). ``maximum``
    caps the product.
    """

    fixed: Quantity | None = None
    per_kg: Quantity | None = None
    per_hour: Quantity | None = None
    per_kg_hour: Quantity | None = None
    maximum: Quantity | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Dose:
        given = [n for n in ("fixed", "per_kg", "per_hour", "per_kg_hour") if getattr(self, n) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise _misfit(given[-1] if given else "fixed", found, "exactly one of fixed, per_kg, per_hour, per_kg_hour")
        return self


def _line_id(value: str) -> str:
    """Requirement lines are named ``line.part`` and ``session.part``, and those a booking adds ``added-1`` …"""
    if value == "session" or value.startswith("added-"):
        raise ValueError("expected another id: 'session' and 'added-…' name lines that no protocol states")
    return value


LineId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,95}$"), AfterValidator(_line_id)]
"""The id of a protocol's line: a slug without dots."""


class Line(StrictModel):
    """A line of a protocol: a component, its dose and how it is given."""

    id: LineId
    component: Slug
    dose: Dose
    route: Literal["infusion", "push", "flush", "supply"] = "infusion"
    diluent: Diluent | None = None
    probability: Probability | None = None
    """PRN: the probability that it is given. Absent: always."""
    supply_mode: Literal["stocked", "pharmacy-made", "externally-compounded"] = "stocked"
    kits: tuple[Slug, ...] = ()
    """Supplies of this line, beside those its item's ``draws`` and route bring (policies.line_kits)."""
    items: tuple[ItemChoice, ...] | None = None
    """Instead of the component's own ``filled_by``."""
    waste: Quantity | None = None
    """Lost besides the rest of the container (for example what stays in a line), added to the dose."""
    facts: tuple[Fact, ...] = ()


class Repeat(StrictModel):
    """How sessions of a patient usually follow one another."""

    kind: Literal["every", "consecutive-days", "none"]
    days: Annotated[int, Field(ge=1, le=366)] | None = None
    """every: days between sessions; consecutive-days: number of days running."""

    @model_validator(mode="after")
    def _days_where_they_mean_something(self) -> Repeat:
        if (self.days is None) is not (self.kind == "none"):
            wanted = "no days with kind none" if self.kind == "none" else f"a number of days with kind {self.kind}"
            raise _misfit("days", None if self.days is None else str(self.days), wanted)
        return self


class ProtocolVersion(StrictModel):
    """What the protocol says from ``effective_from`` on (a site's day), until the next version or ``effective_to``."""

    version: Annotated[int, Field(ge=1)]
    effective_from: date
    effective_to: date | None = None
    """The last day."""
    session_minutes: Annotated[int, Field(gt=0, le=24 * 60)]
    repeat: Repeat
    parameters: tuple[Literal["weight_kg", "hours"], ...] = ()
    """What a booking must carry."""
    lines: Annotated[tuple[Line, ...], Field(min_length=1)]
    session_kits: tuple[Slug, ...] = ()


class Protocol(_Entity):
    """A named treatment; a booking asks for one."""

    versions: Annotated[tuple[ProtocolVersion, ...], Field(min_length=1)]


class Supplier(_Entity):
    """Who delivers, how fast, and when orders can be placed."""

    lead_time_days: Annotated[int, Field(ge=0, le=365)]
    """Calendar days from order to shelf, as stated."""
    late_allowance_days: Annotated[int, Field(ge=0, le=90)] = 0
    """Days late that about one order in eighty exceeds: what is believed until the supplier's own deliveries tell (0:
    it is never late). Most of the safety stock of a main drug comes from here."""
    order_days: Annotated[tuple[Weekday, ...], Field(min_length=1)] = ("mon", "tue", "wed", "thu", "fri")
    cutoff: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "16:00"
    """Site's local time until which an order leaves on the same day."""
    minimum_order_value: NonNegative | None = None


class ParStock(StrictModel):
    """An emergency stock: kept, and used on an event or by expiry, never planned per session."""

    component: Slug
    quantity: SomeContainers


class ExpectedSessions(StrictModel):
    """How many sessions of a protocol a site expects on each weekday in the long run (prior)."""

    protocol: Slug
    per_day: dict[Weekday, NonNegative]
    typical: dict[Literal["weight_kg", "hours"], Positive] = {}
    """Parameters of the typical session, for those not yet booked."""


class Site(_Entity):
    """A clinic with its own stock. ``timezone`` is an IANA name; a day is the site's day."""

    timezone: str
    policy: Slug
    first_stick_probability: Probability
    closed_on: tuple[date, ...] = ()
    par_stock: tuple[ParStock, ...] = ()
    preferences: dict[Slug, tuple[ItemChoice, ...]] = {}
    """component → items, instead of the component's own ``filled_by``: the lever in a shortage."""
    protocols: tuple[Slug, ...] | None = None
    """Those given here; absent: all."""
    expected_sessions: tuple[ExpectedSessions, ...] = ()
    consumption: Literal["completions", "dispensed"] = "completions"
    """What takes stock down: completed sessions (actual use, else the expected one), or dispense events."""


class ByDaysToGo(StrictModel):
    """A point of a table by days to go. Points are joined by straight lines; beyond the last one its value holds."""

    days: Annotated[int, Field(ge=0, le=400)]
    value: Probability


class Policy(_Entity):
    """How safe, how often, and what is assumed before anything is learned."""

    service_level: Annotated[Probability, Field(gt=0, lt=1)]
    """What is wanted of ``service_measure``."""
    service_measure: Literal["cycle", "fill", "session"] = "cycle"
    """cycle: probability of not running out before the next chance to order could arrive; fill: share of the need that
    is met from the shelf; session: probability that a session finds all that it needs, shared among its items."""
    holding_cost_per_year: Annotated[NonNegative, Field(gt=0, le=10)] | None = None
    """Money that a year on the shelf costs, as a share of an item's price: capital, room, loss."""
    order_line_cost: Annotated[NonNegative, Field(gt=0)] | None = None
    """Money that each line of an order costs: then lines are as large as they are worth (economic order quantity)."""
    shortage_cost: Annotated[NonNegative, Field(gt=0)] | None = None
    """Money lost when a session does not find an item: then for items with a price expected shortage is balanced
    against holding and waste, in place of the service level."""
    review_period_days: Annotated[int, Field(ge=1, le=60)]
    critical_risk: Probability
    """Risk of running out before an order placed today arrives at which sessions are named as at risk."""
    resolve_margin: Probability
    """Hysteresis: an alert resolves when the risk is below (1 − service_level) × this."""
    count_tolerance_containers: Containers
    count_tolerance_fraction: Probability
    overdue_grace_days: Annotated[int, Field(ge=0, le=60)] = 0
    keep_probability: Annotated[tuple[ByDaysToGo, ...], Field(min_length=1)]
    """Probability that a booked session takes place, by days to go (prior)."""
    still_to_come: Annotated[tuple[ByDaysToGo, ...], Field(min_length=1)]
    """Share of a day's sessions that is not yet booked, by days to go (prior)."""
    dispersion: Annotated[Positive, Field(ge=1)]
    """Variance ÷ mean of the sessions still to come."""

    @model_validator(mode="after")
    def _money_against_money(self) -> Policy:
        for field in ("order_line_cost", "shortage_cost"):
            value = getattr(self, field)
            if value is not None and self.holding_cost_per_year is None:
                raise _misfit(
                    field, str(value), "holding_cost_per_year beside it: one cost is weighed against the other"
                )
        return self


class LineKits(StrictModel):
    """Kits that lines bring by themselves, by how the item is drawn and given. One file, one place to edit."""

    draws_vial: tuple[Slug, ...] = ()
    draws_ampule: tuple[Slug, ...] = ()
    push: tuple[Slug, ...] = ()
    admixture: tuple[Slug, ...] = ()


class Bundle(Model):
    """The catalogue in force, whole: what the ``catalogue`` topic carries.

    ``version`` is a digest of the content: equal content, equal version.
    """

    schema_version: Literal[1] = 1
    version: Identifier
    groups: tuple[Group, ...]
    components: tuple[Component, ...]
    items: tuple[Item, ...]
    kits: tuple[Kit, ...]
    line_kits: LineKits
    protocols: tuple[Protocol, ...]
    suppliers: tuple[Supplier, ...]
    sites: tuple[Site, ...]
    policies: tuple[Policy, ...]
