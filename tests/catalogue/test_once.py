"""What is worked out of a catalogue once is, and goes with it."""

from __future__ import annotations

import gc
import weakref

from planner.catalogue.index import Catalogue
from planner.catalogue.once import once
from tests.plan.clinic import bundle


def test_it_is_asked_once_for_a_catalogue_and_what_else_is_given_and_goes_with_the_catalogue() -> None:
    asked: list[tuple[str, str]] = []

    @once
    def first_of(catalogue: Catalogue, site: str) -> list[str]:
        asked.append((catalogue.version, site))
        return [site]

    one, other = Catalogue(bundle()), Catalogue(bundle(service_level="0.9"))
    assert first_of(one, "a") is first_of(one, "a")
    assert (first_of(one, "b"), first_of(other, "a")) == (["b"], ["a"])
    assert asked == [(one.version, "a"), (one.version, "b"), (other.version, "a")]
    assert first_of.__name__ == "first_of"
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
