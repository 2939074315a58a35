"""Small worlds for the tests of the simulation."""

from __future__ import annotations

from functools import cache
from typing import Any

from config.load import DEFAULT_CATALOGUE, load_catalogue
from planner.catalogue.model import Bundle
from planner.simulation.clinic import SiteClinic, clinics_of
from planner.simulation.scenario import Scenario

VIAL, BAG = "vial", "bag"


@cache
def bundle() -> Bundle:
    """The default catalogue."""
    found = load_catalogue(DEFAULT_CATALOGUE).bundle
    assert found is not None
    return found


def scenario(**changes: Any) -> Scenario:
    """A clinic of three sessions a day and two items; ``changes`` replace whole fields."""
    body: dict[str, Any] = {
        "id": "small",
        "title": "Small",
        "clinic": {
            "sessions_per_day": 3,
            "items": [
                {"id": VIAL, "price": 50, "pack": 5, "lead_days": 2, "shelf_life_days": 60},
                {"id": BAG, "price": 2, "pack": 10, "lead_days": 3},
            ],
            "kinds": [
                {
                    "id": "infusion",
                    "share": 1,
                    "uses": [{"item": VIAL}, {"item": VIAL, "probability": 0.25}, {"item": BAG}],
                }
            ],
        },
        "bookings": {
            "ahead": [{"share": 0.4, "days": [0, 3]}, {"share": 0.6, "days": [7, 14]}],
            "cancelled": 0.1,
            "missed": 0.1,
        },
        "deliveries": {"late_share": 0.2, "late_days_max": 3},
        "horizon": {"warm_up_days": 28, "days": 56},
    }
    return Scenario.model_validate(body | changes)


def clinic(**changes: Any) -> SiteClinic:
    """The small clinic."""
    return clinics_of(scenario(**changes), bundle())[0]
