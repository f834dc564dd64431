import pytest

from lm.parallel import Processes


def test_alone_nothing_is_sent_and_everything_is_ours():
    alone = Processes()
    assert alone.first
    assert alone.share([3, 1, 2]) == [0, 1, 2]
    assert alone.total(1.0, 2.0) == [1.0, 2.0]
    assert alone.any(True)
    assert not alone.any(False)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_work_is_shared_out_whole_and_about_evenly(size):
    sizes = [7, 1, 9, 3, 3, 8, 2, 5, 5, 4, 6]
    parts = [Processes(rank, size).share(sizes) for rank in range(size)]
    assert sorted(place for part in parts for place in part) == list(range(len(sizes)))
    loads = [sum(sizes[place] for place in part) for part in parts]
    assert max(loads) - min(loads) <= max(sizes)


def test_with_less_work_than_processes_some_have_none():
    assert [Processes(rank, 3).share([5]) for rank in range(3)] == [[0], [], []]
