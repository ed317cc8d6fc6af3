"""What a GPU has to show: each part is written as it ends, whatever comes of the others."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import gpu
from bench.gpu import Part

MARKS = "# A page\n<!-- gpu:begin -->\n<!-- gpu:end -->\nMore.\n"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(MARKS)
    return path


def ran(page: Path, *words: str) -> str:
    where = ("--page", str(page), "--out", str(page.parent / "out"))
    done = CliRunner().invoke(gpu.main, [*where, *words])
    assert done.exit_code == 0, done.output
    return page.read_text()


def listed(monkeypatch: pytest.MonkeyPatch, *parts: Part) -> None:
    monkeypatch.setattr(gpu, "parts", lambda *, gpu: list(parts))


def test_each_part_is_written_and_what_fails_or_is_late_says_so(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(
        monkeypatch,
        Part("Works", ("calendar", "2026", "1")),
        Part("Fails", ("calendar", "no-year")),
        Part("Is late", ("http.server", "--bind", "127.0.0.1", "0")),
        Part("Comes after", ("calendar",)),
    )
    text = ran(page, "--minutes", "0.03")
    assert text.startswith(
        "# A page\n<!-- gpu:begin -->\n\n### Works\n\n`python -m calendar 2026 1`: "
    )
    assert "### Fails\n\n`python -m calendar no-year`: " in text
    assert "invalid int value" in text
    assert "### Is late\n\n`python -m http.server --bind 127.0.0.1 0` did not end in " in text
    assert "Comes after" not in text
    assert text.endswith("<!-- gpu:end -->\nMore.\n")


def test_what_a_benchmark_saved_before_it_failed_is_shown(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = page.parent / "out" / "saves.json"
    saved.parent.mkdir()
    words = ("timeit", "-n", "1", f"open({str(saved)!r}, 'w').write('[7]'); raise SystemExit(1)")
    monkeypatch.setattr(gpu.subprocess, "run", without_json(gpu.subprocess.run))
    listed(monkeypatch, Part("Saves", words, lambda found: f"{found[0]} rows"))
    assert "### Saves\n\n7 rows\n\nIt did not end.\n" in ran(page)


def without_json(run):
    """Leave the words off that a benchmark alone knows."""
    return lambda words, **options: run(words[:-2], **options)


def test_a_page_without_its_mark_is_refused(page: Path) -> None:
    page.write_text("nothing")
    done = CliRunner().invoke(gpu.main, ["--page", str(page)])
    assert done.exit_code == 2
    assert "no mark <!-- gpu:begin -->" in done.output


def test_a_gpu_is_asked_for_where_there_is_one() -> None:
    for is_there, device in ((True, "cuda"), (False, "cpu")):
        words = [part.words for part in gpu.parts(gpu=is_there)]
        assert {one[one.index("--device") + 1] for one in words if "--device" in one} == {device}
        assert [one[0] for one in words] == [
            *("pytest", "bench.step", "bench.step", "bench.encode", "bench.cache"),
            *("bench.pixels", "bench.pipeline"),
        ]


@pytest.mark.slow
def test_the_same_runs_at_small_shapes_without_a_gpu(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    text = ran(page)
    for part in gpu.parts(gpu=False):
        assert f"### {part.title}\n" in text
    assert "did not end" not in text
    assert text.count(", commit ") == 6
    assert " passed" in text
