import pytest
from rich.console import Console

from fdbpl.system import progress as module
from fdbpl.system.progress import progress


def test_a_bar_within_a_bar_stands_below_it_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    with progress("outer") as outer:
        outer(1, 4)
        bar = module._SHOWN.get()
        with pytest.raises(KeyError), progress("inner") as inner:
            inner(2, 3)
            shown = [(task.description, task.completed, task.total) for task in bar.tasks]
            raise KeyError
        assert [task.description for task in bar.tasks] == ["outer"]
    assert shown == [("outer", 1, 4), ("inner", 2, 3)]
    assert module._SHOWN.get() is None


def test_nobody_watches_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("work") as report:
        report(1, 2)
    assert capsys.readouterr() == ("", "")
    assert not Console(stderr=True).is_terminal
