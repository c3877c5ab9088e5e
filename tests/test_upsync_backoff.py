"""When the next query starts: given times, no waiting."""

from __future__ import annotations

from lb.upsync.backoff import Backoff


def pace(interval: float = 0.5, position: float = 1.0) -> Backoff:
    """`position` 0..1 of the jitter's range."""
    return Backoff(interval, lambda low, high: low + (high - low) * position)


def test_the_first_query_starts_at_once() -> None:
    assert pace().delay(1000.0) == 0


def test_after_a_change_the_next_query_waits_for_the_interval_so_a_burst_is_fetched_in_one() -> None:
    clock = pace()
    clock.started(100.0)
    clock.answered(130.0, changed=True)
    assert clock.delay(130.0) == 0.5
    assert clock.delay(130.4) < 0.11
    assert clock.delay(131.0) == 0


def test_after_a_change_it_rests_by_what_that_cost() -> None:
    """A cheap answer is followed soon, a dear one after twenty times its cost, and none later than the interval."""
    clock = pace()
    for cost_s, rest_s in ((0.0, 0.005), (0.001, 0.02), (0.004, 0.08), (0.1, 0.5)):
        clock.started(100.0)
        clock.answered(100.0, changed=True, cost_s=cost_s)
        assert abs(clock.delay(100.0) - rest_s) < 1e-9


def test_an_interval_shorter_than_the_rest_holds() -> None:
    clock = pace(interval=0.001)
    clock.answered(100.0, changed=True, cost_s=1.0)
    assert abs(clock.delay(100.0) - 0.001) < 1e-9


def test_after_a_quiet_query_the_next_starts_at_once() -> None:
    clock = pace()
    clock.started(100.0)
    clock.answered(155.0, changed=False)
    assert clock.delay(155.0) == 0


def test_answers_without_change_that_come_too_soon_make_no_busy_loop() -> None:
    clock = pace()
    clock.started(100.0)
    clock.answered(100.01, changed=False)
    assert abs(clock.delay(100.01) - 0.49) < 1e-9


def test_an_error_is_answered_at_once_and_then_ever_more_slowly_up_to_one_interval() -> None:
    clock = pace(interval=5.0)
    waits = []
    for _ in range(9):
        clock.failed(100.0)
        waits.append(round(clock.delay(100.0), 6))
    assert waits == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_the_bound_is_kept_for_ever() -> None:
    clock = pace(interval=5.0)
    for _ in range(5000):
        clock.failed(100.0)
    assert clock.delay(100.0) == 5.0


def test_the_jitter_takes_up_to_half() -> None:
    clock = pace(interval=5.0, position=0.0)
    clock.failed(100.0)
    clock.failed(100.0)
    assert round(clock.delay(100.0), 6) == 0.05


def test_the_bound_has_bounds() -> None:
    for interval, bound in ((0.001, 0.5), (3600.0, 15.0)):
        clock = pace(interval)
        for _ in range(30):
            clock.failed(100.0)
        assert clock.delay(100.0) == bound


def test_an_answer_ends_the_slowness() -> None:
    clock = pace()
    for _ in range(9):
        clock.failed(100.0)
    clock.started(200.0)
    clock.answered(200.0, changed=True)
    clock.failed(300.0)
    assert clock.failures == 1
    assert clock.delay(300.0) == 0


def test_a_busy_consul_is_not_asked_again_at_once() -> None:
    clock = pace()
    clock.failed(100.0, busy=True)
    assert clock.delay(100.0) == 0.5


def test_a_doubtful_answer_is_checked_at_once() -> None:
    clock = pace()
    clock.started(100.0)
    clock.answered(101.0, changed=True)
    clock.started(101.5)
    clock.doubted(102.0)
    assert clock.delay(102.0) == 0


def test_a_registry_that_has_waited_as_asked_is_asked_again_at_once() -> None:
    pace = Backoff(5.0)
    pace.started(100.0)
    pace.answered(100.25, changed=False, wait_s=0.25)
    assert pace.delay(100.25) == 0.0
    pace.started(100.25)
    pace.answered(100.26, changed=False, wait_s=0.5)  # it has not waited
    assert round(pace.delay(100.26), 6) == 4.99
    pace.started(200.0)
    pace.answered(200.5, changed=True, wait_s=0.5)
    assert pace.delay(200.5) == 5.0
