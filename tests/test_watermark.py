from datetime import timedelta

from pipelines.watermark import Watermark

S = 1_000_000


def started(hold: float = 10, value: int | None = None, greatest: int | None = None) -> Watermark:
    """A watermark of a minute's disorder, of a process that started at 1,000 s."""
    mark = Watermark(timedelta(seconds=60), hold, now=1_000)
    mark.restore(value, greatest)
    return mark


def test_it_follows_the_greatest_event_time_and_never_goes_back() -> None:
    mark = started(hold=0)
    seen = []
    for greatest in (500 * S, 700 * S, 600 * S, None, 701 * S):
        mark.stored(greatest, 1_001)
        seen.append(mark.advance(True, 1_001))
    assert seen == [440 * S, 640 * S, 640 * S, 640 * S, 641 * S]


def test_after_a_start_it_is_held_for_an_ack_deadline_and_until_the_subscription_was_empty_once() -> None:
    mark = started(value=400 * S, greatest=460 * S)
    mark.stored(900 * S, 1_001)
    assert [mark.advance(drained, now) for drained, now in ((True, 1_005), (False, 1_011), (True, 1_011), (False, 1_012))] == [400 * S, 400 * S, 840 * S, 840 * S]


def test_it_stands_still_while_there_is_a_backlog() -> None:
    mark = started(hold=0)
    seen = []
    for drained, greatest in ((True, 500 * S), (False, 900 * S), (False, 950 * S), (True, 951 * S)):
        mark.stored(greatest, 1_001)
        seen.append(mark.advance(drained, 1_001))
    assert seen == [440 * S, 440 * S, 440 * S, 891 * S]


def test_on_empty_tables_it_is_held_too() -> None:
    mark = started()
    mark.stored(500 * S, 1_001)
    assert (mark.value, mark.advance(True, 1_009), mark.advance(True, 1_010)) == (None, None, 440 * S)


def test_an_idle_stream_walks_with_the_clock_from_where_it_stood() -> None:
    mark = started(hold=0)
    mark.stored(500 * S, 1_010)
    walked = [mark.advance(True, 1_010 + idle) for idle in (0, 29, 30, 31.5, 600)]
    assert walked == [440 * S, 440 * S, 440 * S, int(441.5 * S), 1_010 * S]
    assert mark.advance(False, 1_700) == 1_010 * S, "a backlog is no idleness"
    mark.stored(505 * S, 1_700)
    assert mark.advance(True, 1_700) == 1_010 * S


def test_without_a_row_there_is_no_watermark() -> None:
    mark = started(hold=0)
    assert mark.advance(True, 5_000) is None
