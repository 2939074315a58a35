"""Where the real bookings lie, if they do: beside the project."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CITY = ROOT.parent / "shared" / "data" / "bookings-city.csv.gz"
CITY_MAPPING = ROOT / "config" / "mappings" / "city.yaml"

needs_city = pytest.mark.skipif(not CITY.exists(), reason="no ../shared/data/bookings-city.csv.gz beside the project")
