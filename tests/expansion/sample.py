"""A small catalogue for tests: every rule of expansion once, and no more. Passes its own check."""

from __future__ import annotations

import copy
from typing import Any

from planner.catalogue.check import check_bundle
from planner.catalogue.digest import version_of
from planner.catalogue.model import Bundle

ITEM: dict[str, Any] = {
    "group": "drugs",
    "pack": {"containers": 25},
    "shelf_life_days": 700,
    "supplier": "wholesaler",
}
PIECE = {"content": "1 each", "group": "supplies"}
VIAL = {"draws": "vial"}


def _item(name: str, component: str, **fields: Any) -> dict[str, Any]:
    return {**ITEM, "id": name, "name": name, "component": component, **fields}


def _component(name: str, kind: str, *items: Any, **fields: Any) -> dict[str, Any]:
    choices = [{"item": i} if isinstance(i, str) else i for i in items or (name,)]
    return {"id": name, "name": name, "kind": kind, "filled_by": choices, **fields}


def _supplies() -> list[str]:
    return ["catheter", "start-kit", "syringe", "filter-needle", "flush", "alcohol-prep", "secondary-set", "emesis-bag"]


ITEMS = [
    _item(
        "magnesium-vial-2ml",
        "magnesium",
        content="2 mL",
        concentration={"value": "500", "unit": "mg"},
        price="1.5",
        **VIAL,
    ),
    _item(
        "magnesium-premix-2g",
        "magnesium",
        content="50 mL",
        concentration={"value": "40", "unit": "mg"},
        replaces_diluent=True,
    ),
    _item("saline-100ml", "saline", content="100 mL"),
    _item("saline-50ml", "saline", content="50 mL"),
    _item("ondansetron-vial", "ondansetron", content="2 mL", concentration={"value": "2", "unit": "mg"}, **VIAL),
    _item("valproate-vial", "valproate", content="5 mL", concentration={"value": "100", "unit": "mg"}, **VIAL),
    _item("dhe-ampule", "dhe", content="1 mL", concentration={"value": "1", "unit": "mg"}, draws="ampule"),
    _item(
        "ketamine-mdv",
        "ketamine",
        content="20 mL",
        concentration={"value": "30", "unit": "mg"},
        use="multi-dose",
        open_hours="672",
        controlled_schedule="III",
        **VIAL,
    ),
    *(_item(name, name, **PIECE) for name in _supplies()),
]

COMPONENTS = [
    _component(
        "magnesium",
        "drug",
        {"item": "magnesium-vial-2ml"},
        salt={"name": "MgSO4·7H2O", "molar_mass_g_per_mol": "246.47", "valence": 2},
    ),
    _component("saline", "fluid", {"item": "saline-50ml", "up_to_containers": 1}, {"item": "saline-100ml"}),
    _component("ondansetron", "drug", "ondansetron-vial"),
    _component("valproate", "drug", "valproate-vial"),
    _component("dhe", "drug", "dhe-ampule"),
    _component("ketamine", "drug", "ketamine-mdv"),
    *(_component(name, "supply") for name in _supplies()),
]

KITS = [
    {
        "id": "draw-vial",
        "name": "x",
        "supplies": [{"component": "syringe"}, {"component": "alcohol-prep", "quantity": 2}],
    },
    {"id": "draw-ampule", "name": "x", "supplies": [{"component": "syringe"}, {"component": "filter-needle"}]},
    {"id": "push", "name": "x", "supplies": [{"component": "flush"}]},
    {"id": "admixture", "name": "x", "supplies": [{"component": "secondary-set"}]},
    {
        "id": "access",
        "name": "x",
        "supplies": [
            {"component": "catheter", "per_attempt": True},
            {"component": "start-kit", "extra_per_restick": "0.3"},
            {"component": "alcohol-prep", "quantity": 2, "per_attempt": True},
        ],
    },
    {
        "id": "session",
        "name": "x",
        "supplies": [
            {"component": "flush", "quantity": 2},
            {"component": "emesis-bag", "quantity": 0, "extra_probability": "0.3"},
        ],
        "kits": ["access"],
    },
]

PROTOCOLS = [
    {
        "id": "magnesium",
        "name": "Magnesium",
        "versions": [
            {
                "version": 1,
                "effective_from": "2015-01-01",
                "session_minutes": 90,
                "repeat": {"kind": "every", "days": 28},
                "lines": [
                    {
                        "id": "magnesium",
                        "component": "magnesium",
                        "dose": {"fixed": "2 g"},
                        "diluent": {"component": "saline", "volume": "100 mL"},
                    },
                    {
                        "id": "ondansetron",
                        "component": "ondansetron",
                        "dose": {"fixed": "4 mg"},
                        "route": "push",
                        "probability": "0.3",
                    },
                ],
                "session_kits": ["session"],
            },
            {
                "version": 2,
                "effective_from": "2030-01-01",
                "effective_to": "2030-12-31",
                "session_minutes": 60,
                "repeat": {"kind": "none"},
                "lines": [{"id": "magnesium", "component": "magnesium", "dose": {"fixed": "1 g"}}],
            },
        ],
    },
    {
        "id": "valproate",
        "name": "Valproate",
        "versions": [
            {
                "version": 1,
                "effective_from": "2015-01-01",
                "session_minutes": 60,
                "repeat": {"kind": "none"},
                "parameters": ["weight_kg"],
                "lines": [
                    {
                        "id": "valproate",
                        "component": "valproate",
                        "dose": {"per_kg": "20 mg", "maximum": "1 g"},
                        "diluent": {"component": "saline", "volume": "50 mL"},
                    }
                ],
            }
        ],
    },
    {
        "id": "ketamine",
        "name": "Ketamine",
        "versions": [
            {
                "version": 1,
                "effective_from": "2015-01-01",
                "session_minutes": 240,
                "repeat": {"kind": "none"},
                "parameters": ["weight_kg", "hours"],
                "lines": [
                    {
                        "id": "ketamine",
                        "component": "ketamine",
                        "dose": {"per_kg_hour": "0.34 mg"},
                        "waste": "3 mg",
                        "diluent": {"component": "saline", "volume": "100 mL"},
                    }
                ],
            }
        ],
    },
    {
        "id": "dhe",
        "name": "DHE",
        "versions": [
            {
                "version": 1,
                "effective_from": "2015-01-01",
                "session_minutes": 60,
                "repeat": {"kind": "consecutive-days", "days": 3},
                "lines": [
                    {"id": "test", "component": "dhe", "dose": {"fixed": "0.5 mg"}, "route": "push"},
                    {"id": "dose", "component": "dhe", "dose": {"fixed": "0.5 mg"}},
                    {
                        "id": "vitamins",
                        "component": "magnesium",
                        "dose": {"fixed": "1 g"},
                        "supply_mode": "pharmacy-made",
                        "diluent": {"component": "saline", "volume": "100 mL"},
                    },
                ],
            }
        ],
    },
]

CONTENT: dict[str, Any] = {
    "groups": [{"id": "drugs", "name": "Drugs"}, {"id": "supplies", "name": "Supplies"}],
    "components": COMPONENTS,
    "items": ITEMS,
    "kits": KITS,
    "line_kits": {
        "draws_vial": ["draw-vial"],
        "draws_ampule": ["draw-ampule"],
        "push": ["push"],
        "admixture": ["admixture"],
    },
    "protocols": PROTOCOLS,
    "suppliers": [{"id": "wholesaler", "name": "Wholesaler", "lead_time_days": 2}],
    "sites": [
        {
            "id": "north",
            "name": "North",
            "timezone": "Europe/Lisbon",
            "policy": "standard",
            "first_stick_probability": "0.73",
            "expected_sessions": [
                {"protocol": "magnesium", "per_day": {"mon": "3"}},
                {"protocol": "valproate", "per_day": {"mon": "1"}, "typical": {"weight_kg": "70"}},
            ],
        },
        {
            "id": "south",
            "name": "South",
            "timezone": "America/New_York",
            "policy": "standard",
            "first_stick_probability": "0.86",
            "preferences": {
                "magnesium": [{"item": "magnesium-premix-2g", "exact": True}, {"item": "magnesium-vial-2ml"}]
            },
            "protocols": ["magnesium", "dhe"],
        },
    ],
    "policies": [
        {
            "id": "standard",
            "name": "Standard",
            "service_level": "0.98",
            "review_period_days": 1,
            "critical_risk": "0.2",
            "resolve_margin": "0.5",
            "count_tolerance_containers": 1,
            "count_tolerance_fraction": "0.05",
            "keep_probability": [{"days": 0, "value": "0.9"}],
            "still_to_come": [{"days": 0, "value": "0.1"}],
            "dispersion": "1.5",
        }
    ],
}


def content() -> dict[str, Any]:
    """The catalogue's content, to be edited by a test."""
    return copy.deepcopy(CONTENT)


def entity(edited: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    """One entity of edited content."""
    found: dict[str, Any] = next(e for e in edited[section] if e["id"] == name)
    return found


def unchecked(edited: dict[str, Any]) -> Bundle:
    """The bundle of edited content under its right version, whatever its faults."""
    bundle = Bundle.model_validate({"version": "none-yet", **edited})
    return bundle.model_copy(update={"version": version_of(bundle)})


def bundle(edited: dict[str, Any] | None = None) -> Bundle:
    """The bundle of edited content; a test that makes a faulty one is itself at fault."""
    made = unchecked(CONTENT if edited is None else edited)
    faults = check_bundle(made)
    if faults:
        raise ValueError("\n".join(str(fault) for fault in faults))
    return made
