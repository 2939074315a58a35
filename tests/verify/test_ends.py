"""Every input has one end: what is missing, altered, unexplained or repeated is told apart."""

from __future__ import annotations

from planner.messages import OutcomeStatus
from planner.records import DeadLetter, dead_letter_message, outcome_message
from planner.step import Message, Record
from planner.verify.compare import Difference
from planner.verify.ends import Ends, LastOnes, Stream

FOLDED = {("bookings", 0): (2, 10)}


def told(offset: int, status: OutcomeStatus = OutcomeStatus.APPLIED, reason: str | None = None) -> Message:
    return outcome_message(Record("bookings", 0, offset, 0, b"k", b"v"), status, f"e{offset}", reason=reason)


def on_the_log(message: Message, topic: str = "outcomes") -> Record:
    return Record(topic, 1, 0, 0, message.key, message.value, message.headers)


def ends_of(*offsets: int) -> Ends:
    ends = Ends("outcomes")
    for offset in offsets:
        ends.expect(told(offset))
    return ends


def test_each_is_found_once() -> None:
    ends = ends_of(2, 3)
    assert ends.find(on_the_log(told(3)), FOLDED) is None
    assert [str(found) for found in ends.missing()] == ["outcomes: bookings/0/2: recomputed applied, found (none)"]
    assert ends.find(on_the_log(told(2)), FOLDED) is None
    assert list(ends.missing()) == []
    assert ends.repeated == 0
    assert ends.find(on_the_log(told(2)), FOLDED) is None
    assert ends.repeated == 1


def test_another_end_is_a_difference() -> None:
    found = ends_of(2).find(on_the_log(told(2, OutcomeStatus.REFUSED, "stale-version")), FOLDED)
    assert found == Difference("outcomes", "bookings/0/2", "", "applied", "refused stale-version")


def test_an_end_of_what_had_none_is_a_difference_where_it_was_folded() -> None:
    ends = ends_of(2)
    assert ends.find(on_the_log(told(5)), FOLDED) == Difference("outcomes", "bookings/0/5", "", "(none)", "applied")
    assert ends.find(on_the_log(told(1)), FOLDED) is None, "before what was folded"
    assert ends.find(on_the_log(told(12)), FOLDED) is None, "after the cut"
    ends.expect(told(12))
    assert ends.find_early({("bookings", 0): (2, 13)}) is None
    assert "bookings/0/12" not in {found.key for found in ends.missing()}, "it was found before it was folded"


def test_dead_letters_are_told_by_their_headers_and_kept_to_the_byte() -> None:
    letters = Ends("dead-letters")
    record = Record("bookings", 0, 4, 0, b"k", b"\xff", (("topic", b"theirs"),))
    letter = dead_letter_message(record, DeadLetter("invalid-json", "no"))
    letters.expect(letter)
    assert letters.find(on_the_log(letter, "dead-letters"), FOLDED) is None
    altered = letter._replace(value=b"\xfe")
    found = letters.find(on_the_log(altered, "dead-letters"), FOLDED)
    assert found is not None
    assert found.key == "bookings/0/4"


def test_a_stream_holds_all_that_was_told_and_nothing_else() -> None:
    stream = Stream("requirements")
    one, other = Message("requirements", b"north", b"1"), Message("requirements", b"north", b"2")
    stream.expect(one, "expand/0")
    stream.find(on_the_log(other, "requirements"))
    assert [found.where for found in stream.missing()] == ["requirements"]
    assert [found.found for found in stream.unexplained()] == ["2"]
    stream.expect(other, "expand/1")  # its chunk was in flight when it was found
    stream.find(on_the_log(one, "requirements"))
    stream.find(on_the_log(one, "requirements"))
    assert (list(stream.missing()), stream.unexplained(), stream.repeated) == ([], [], 1)


def test_of_a_compacted_topic_the_last_counts_and_what_was_told_while_one_looked() -> None:
    alerts = LastOnes("alerts")
    for value in (b"1", b"2", None, b"3"):
        alerts.expect(Message("alerts", b"a", value))
    alerts.begin()
    assert [alerts.agrees(b"a", value) for value in (b"3", b"2", None)] == [True, False, False]
    assert alerts.agrees(b"other", None)
    assert not alerts.agrees(b"other", b"3")
    alerts.expect(Message("alerts", b"a", b"4"))
    alerts.expect(Message("alerts", b"a", None))
    assert [alerts.agrees(b"a", value) for value in (None, b"4", b"3")] == [True, True, False]
