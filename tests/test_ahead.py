"""Work ahead: in order, in bounded memory, by several threads at once."""

import threading
from itertools import count, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threads import threads_end

from fdbpl.system.ahead import ahead


@settings(max_examples=20)
@given(jobs=st.lists(st.integers(), max_size=40), threads=st.integers(1, 5))
def test_results_come_in_the_order_of_jobs(jobs: list[int], threads: int) -> None:
    assert list(ahead(lambda job: job * 2, jobs, threads)) == [job * 2 for job in jobs]


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_is_taken_than_two_jobs_a_thread_ahead(threads: int) -> None:
    taken: list[int] = []

    def jobs() -> object:
        for number in count():
            taken.append(number)
            yield number

    results = ahead(lambda job: job, jobs(), threads)
    assert taken == []
    for wanted in range(20):
        assert next(results) == wanted
        assert len(taken) <= wanted + 1 + 2 * threads
    results.close()


def test_threads_work_at_once() -> None:
    meet = threading.Barrier(3, timeout=20)
    assert len({*ahead(lambda _: meet.wait(), range(3), 3)}) == 3


def test_an_error_comes_in_its_turn_and_ends_the_work() -> None:
    results = ahead(lambda job: 1 // (3 - job), count(), 2)
    assert list(islice(results, 3)) == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_threads_end_with_whoever_stops_reading() -> None:
    before = threading.active_count()
    results = ahead(lambda job: job, count(), 4)
    next(results)
    results.close()
    threads_end(before)


def test_an_abandoned_reader_waits_for_no_thread() -> None:
    # as when the garbage collector closes it in a thread that is just beginning
    go_on, before = threading.Event(), threading.active_count()
    results = ahead(lambda job: job == 0 or go_on.wait(20), count(), 2)
    next(results)
    results.close()
    assert not go_on.is_set()
    assert threading.active_count() > before
    go_on.set()
    threads_end(before)
