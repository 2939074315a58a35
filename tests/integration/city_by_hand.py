"""What the City book should lead to, by pandas and by hand: no code of the project, and none of its files.

The rules from rooms to protocols and the needs of a session are written anew, from the mapping's and the catalogue's
words: what a nurse would count out for one session at the site "city", whose first stick succeeds 8 times in 10.
"""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]
BOOK = ROOT.parent / "shared" / "data" / "bookings-city.csv.gz"

CATHETERS = "1.24"
"""At most three attempts, 0.8 of them successful: 1 + 0.2 + 0.04."""
P_ONDANSETRON = "0.3"

MAGNESIUM = "magnesium-sulfate-500mg-ml-2ml-vial"
PROCHLORPERAZINE = "prochlorperazine-5mg-ml-2ml-vial"
METOCLOPRAMIDE = "metoclopramide-5mg-ml-2ml-vial"
ONDANSETRON = "ondansetron-2mg-ml-2ml-vial"
DIPHENHYDRAMINE = "diphenhydramine-50mg-ml-1ml-vial"
KETOROLAC = "ketorolac-30mg-ml-1ml-vial"
DEXAMETHASONE = "dexamethasone-10mg-ml-1ml-vial"
DHE = "dihydroergotamine-1mg-ml-1ml-ampule"
VALPROATE = "valproate-100mg-ml-5ml-vial"
METHYLPREDNISOLONE = "methylprednisolone-500mg-vial"
EPTINEZUMAB = "eptinezumab-100mg-ml-1ml-vial"
KETAMINE = "ketamine-10mg-ml-20ml-multidose-vial"
BAG_50, BAG_100, BAG_250, BAG_500, BAG_1000 = (
    f"sodium-chloride-0.9-{volume}ml-bag" for volume in (50, 100, 250, 500, 1000)
)
WATER = "sterile-water-20ml-vial"
FLUSH = "saline-flush-10ml"
CATHETER = "iv-catheter-22g"
PRIMARY_SET = "primary-set-15gtt"
SECONDARY_SET = "secondary-set"
FILTER = "filter-0.2-micron"
ELECTRODE = "ecg-electrode"

_SESSIONS: dict[str, dict[str, tuple[str, str]]] = {
    # 2 g: two vials of 1 g in a bag of 100 mL. PRN: ketorolac .28, dexamethasone .16, DHE .06, ondansetron .3
    "magnesium": {
        MAGNESIUM: ("2", "2"), BAG_100: ("1", "1"), KETOROLAC: ("0", "0.28"), DEXAMETHASONE: ("0", "0.16"),
        DHE: ("0", "0.06"), ONDANSETRON: ("0", P_ONDANSETRON), FLUSH: ("2", "2.8"),
        PRIMARY_SET: ("1", "1"), SECONDARY_SET: ("1", "1"),
    },
    # 10 mg: one vial in 50 mL; diphenhydramine 50 mg for one in four
    "prochlorperazine": {
        PROCHLORPERAZINE: ("1", "1"), BAG_50: ("1", "1"), DIPHENHYDRAMINE: ("0", "0.25"), FLUSH: ("2", "2.25"),
        PRIMARY_SET: ("1", "1"), SECONDARY_SET: ("1", "1"),
    },
    # pushes only: nothing hangs, so no sets
    "metoclopramide": {METOCLOPRAMIDE: ("1", "1"), DIPHENHYDRAMINE: ("0", "0.1"), FLUSH: ("3", "3.1")},
    "cocktail-ketorolac": {
        KETOROLAC: ("1", "1"), PROCHLORPERAZINE: ("1", "1"), BAG_50: ("1", "1"), DIPHENHYDRAMINE: ("1", "1"),
        DEXAMETHASONE: ("0", "0.3"), BAG_500: ("1", "1"), FLUSH: ("4", "4.3"),
        PRIMARY_SET: ("1", "1"), SECONDARY_SET: ("1", "1"),
    },
    "cocktail-triple": {
        METOCLOPRAMIDE: ("1", "1"), KETOROLAC: ("1", "1"), DEXAMETHASONE: ("1", "1"), ONDANSETRON: ("0", P_ONDANSETRON),
        BAG_500: ("1", "1"), FLUSH: ("5", "5.3"), PRIMARY_SET: ("1", "1"),
    },
    # 75 kg at 20 mg/kg would be 1,500 mg; at most 1,000 mg are given: two vials of 500 mg
    "valproate": {
        VALPROATE: ("2", "2"), BAG_100: ("1", "1"), FLUSH: ("2", "2"), PRIMARY_SET: ("1", "1"),
        SECONDARY_SET: ("1", "1"),
    },
    "methylprednisolone": {
        METHYLPREDNISOLONE: ("1", "1"), BAG_100: ("1", "1"), FLUSH: ("2", "2"), PRIMARY_SET: ("1", "1"),
        SECONDARY_SET: ("1", "1"),
    },
    "hydration": {
        BAG_1000: ("1", "1"), ONDANSETRON: ("0", P_ONDANSETRON), FLUSH: ("2", "2.3"), PRIMARY_SET: ("1", "1"),
    },
    "eptinezumab": {
        EPTINEZUMAB: ("1", "1"), BAG_100: ("1", "1"), FILTER: ("1", "1"), FLUSH: ("4", "4"), PRIMARY_SET: ("1", "1"),
        SECONDARY_SET: ("1", "1"),
    },
    # a test dose of 0.5 mg and 1 mg in 250 mL: an ampule each, since the rest of an ampule is thrown away
    "dhe-multi-day": {
        METOCLOPRAMIDE: ("1", "1"), DHE: ("2", "2"), BAG_250: ("1", "1"), ONDANSETRON: ("0", P_ONDANSETRON),
        FLUSH: ("4", "4.3"), PRIMARY_SET: ("1", "1"), SECONDARY_SET: ("1", "1"),
    },
    # 0.34 mg/kg/h, 75 kg, 4 h: 102 mg, 10.2 mL of a vial that is shared between patients
    "ketamine": {
        KETAMINE: ("10.2", "10.2"), BAG_500: ("1", "1"), ELECTRODE: ("4", "4"), ONDANSETRON: ("0", P_ONDANSETRON),
        FLUSH: ("2", "2.3"), PRIMARY_SET: ("1", "1"), SECONDARY_SET: ("1", "1"),
    },
    "vitamin": {WATER: ("1", "1"), FLUSH: ("2", "2"), PRIMARY_SET: ("1", "1")},
}  # fmt: skip

CERTAIN = {protocol: {item: Fraction(c) for item, (c, _) in needs.items()} for protocol, needs in _SESSIONS.items()}
"""protocol → item → containers (ketamine: mL) that every session takes."""
MEAN = {
    protocol: {item: Fraction(m) for item, (_, m) in needs.items()} | {CATHETER: Fraction(CATHETERS)}
    for protocol, needs in _SESSIONS.items()
}
"""protocol → item → containers (ketamine: mL) that a session takes on average."""
for _needs in CERTAIN.values():
    _needs[CATHETER] = Fraction(1)

ITEMS = sorted({item for needs in MEAN.values() for item in needs})
SINGLE_DOSE = [item for item in ITEMS if item != KETAMINE]

COMPONENTS = {
    # 2 vials of 1,000 mg, 1 vial of 10 mg, two ampules of 1 mg (.06 of one), two vials of 500 mg
    "magnesium-sulfate": {"magnesium": Fraction(2000)},
    "prochlorperazine": {"prochlorperazine": Fraction(10), "cocktail-ketorolac": Fraction(10)},
    "valproate": {"valproate": Fraction(1000)},
    "dihydroergotamine": {"magnesium": Fraction("0.06"), "dhe-multi-day": Fraction(2)},
}
"""component → protocol → mg that a session takes from stock on average."""


def read_book() -> pd.DataFrame:
    """The file's rows, and the protocol that each stands for."""
    book = pd.read_csv(BOOK, parse_dates=["arrival_date", "booked_date", "status_date"], dtype={"booking_id": str})
    book["protocol"] = [
        _protocol(room, meal, customer)
        for room, meal, customer in zip(book["reserved_room_type"], book["meal"], book["customer_type"], strict=True)
    ]
    return book


def _protocol(room: str, meal: str, customer: str) -> str:
    if room == "A":
        if meal == "HB":
            return "cocktail-triple"
        if meal == "SC":
            return "hydration"
        return "dhe-multi-day" if customer == "Contract" else "magnesium"
    if room == "D":
        return "prochlorperazine" if customer == "Transient" else "cocktail-ketorolac"
    return {
        "E": "metoclopramide", "F": "valproate", "B": "methylprednisolone", "G": "eptinezumab", "C": "ketamine",
        "P": "vitamin",
    }[room]  # fmt: skip


def on_the_books(book: pd.DataFrame, day: str) -> pd.DataFrame:
    """Rows booked by the end of ``day`` for a later day, and not cancelled by then."""
    at = pd.Timestamp(day)
    gone = (book["status"] == "Canceled") & (book["status_date"] <= at)
    return book[(book["booked_date"] <= at) & (book["arrival_date"] > at) & ~gone]


def completed(book: pd.DataFrame, day: str) -> pd.DataFrame:
    """Rows whose guest came, by the end of ``day``."""
    return book[(book["status"] == "Check-Out") & (book["arrival_date"] <= pd.Timestamp(day))]


def sessions(rows: pd.DataFrame) -> dict[date, dict[str, int]]:
    """day → protocol → number of sessions."""
    counts: dict[date, dict[str, int]] = {}
    for (day, protocol), number in rows.groupby([rows["arrival_date"].dt.date, "protocol"]).size().items():
        counts.setdefault(day, {})[protocol] = int(number)
    return counts


def need(by_protocol: dict[str, int], per_session: dict[str, dict[str, Fraction]], item: str) -> Fraction:
    """Of an item, for so many sessions of each protocol."""
    return sum((n * per_session[protocol].get(item, Fraction(0)) for protocol, n in by_protocol.items()), Fraction(0))
