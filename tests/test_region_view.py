import io
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from workspaces import evaluated_workspace, workspace_params

from fdbpl.cli import main
from fdbpl.regions.plan import Plan
from fdbpl.reporting.region_view import Guess, RegionView, TileCaption, draw, draw_sheet, seen
from fdbpl.settings.params import Params
from fdbpl.stages.view_regions import find_image, view_regions
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    return workspace_params(tmp_path_factory.mktemp("project"), ["pets"])


@pytest.fixture(scope="module")
def work(params: Params) -> Workspace:
    return evaluated_workspace(Path(params.data.own["pets"].folder).parents[1], params)


def region(box: tuple[int, int, int, int], flip: bool = False) -> RegionView:
    guesses = (Guess("a class with a very long name indeed", 1.0), Guess("b", 0.0))
    return RegionView(box, flip, 0.5, guesses, guesses, -1.25, 12.0)


def drawn(*regions: RegionView) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8))
    draw("a title", image, regions, "energy", file)
    return file.getvalue()


def test_the_picture_is_the_same_every_time_and_grows_with_the_regions() -> None:
    one, many = drawn(region((0, 0, 9, 9))), drawn(*[region((k, 0, 20 + k, 30)) for k in range(20)])
    assert drawn(region((0, 0, 9, 9))) == one
    sizes = [Image.open(io.BytesIO(picture)).size for picture in (one, many)]
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]


def test_a_mirrored_region_is_shown_mirrored() -> None:
    assert drawn(region((0, 0, 20, 20))) != drawn(region((0, 0, 20, 20), flip=True))


def test_a_sheet_shows_each_region_and_grows_with_them() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8))

    def sheet(count: int, w: float = 0.5) -> bytes:
        file = io.BytesIO()
        known = TileCaption("a class", w, (Guess("a", 0.75), Guess("b", 0.25)))
        draw_sheet("a title", [(image, known)] * count, file)
        return file.getvalue()

    assert sheet(1) == sheet(1) != sheet(1, w=0.6)
    one, many = (Image.open(io.BytesIO(sheet(count))).size for count in (1, 7))
    assert one[0] == many[0]
    assert one[1] < many[1]
    mirrored = np.asarray(seen(image, (1, 2, 11, 12), flip=True))
    assert (mirrored[:, ::-1] == np.asarray(image)[2:12, 1:11]).all()


def test_an_image_is_found_by_path_by_class_and_by_row(work: Workspace) -> None:
    plan = Plan.load(work.plan("pets"))
    for row in (0, 3, len(plan.paths) - 1):
        assert find_image(plan, plan.paths[row]) == row
        assert find_image(plan, f"/some/where/{plan.paths[row]}") == row
        assert find_image(plan, str(row)) == row
    first = find_image(plan, plan.class_names[1])
    assert plan.images["label"][first] == 1
    assert not (plan.images["label"][:first] == 1).any()
    assert find_image(plan, plan.class_names[1].replace(" ", "_")) == first  # as its folder
    for wrong in ("none.png", str(len(plan.paths)), "-1"):
        with pytest.raises(UserError, match="pets a"):
            find_image(plan, wrong)


@pytest.mark.parametrize("method", ["fdbpl", "coop", "zero_shot"])
def test_a_training_image_shows_its_regions_and_a_test_image_itself(
    work: Workspace, params: Params, tmp_path: Path, method: str
) -> None:
    plan = Plan.load(work.plan("pets"))
    for row, count in ((0, 2), (int(plan.test[0]), 1)):
        out = tmp_path / f"{row}.png"
        said = view_regions(params, "pets", work, str(row), method, 2, out)
        assert said.startswith(f"{count} regions of {plan.paths[row]}")
        before = out.read_bytes()
        view_regions(params, "pets", work, str(row), method, 2, out)
        assert out.read_bytes() == before


def test_names_beyond_the_font_say_nothing_on_the_terminal() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(replace(region((0, 0, 9, 9)), teacher=(Guess("海星", 1.0),)))


def test_users_mistakes(
    work: Workspace, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.png"
    for method, seed, says in (
        ("fdbpl", 7, "--seed is 7"),
        ("teacher", 1, "--method is 'teacher'"),
    ):
        with pytest.raises(UserError, match=says):
            view_regions(params, "pets", work, "0", method, seed, out)
    assert not out.exists()
    for other in ("x.jpg", "x", "x.png.pdf"):
        with pytest.raises(UserError, match=r"wanted a name that ends in \.png"):
            view_regions(params, "pets", work, "0", "fdbpl", 1, tmp_path / other)
        assert not (tmp_path / other).exists()
    view_regions(params, "pets", work, "0", "fdbpl", 1, tmp_path / "x.PNG")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(params.model_dump_json())
    result = CliRunner().invoke(main, ["regions", "pets", "0", "--run", "none", "--out", "x.png"])
    assert result.exit_code == 2
    assert "Run fdbpl prepare-crops pets --run none first" in result.stderr


@pytest.mark.parametrize("name", ["$5 bill$", "$x_1_2$", "a$b$c", "\\frac$"])
def test_names_stand_as_they_are_and_are_no_formulas(monkeypatch, name: str) -> None:
    from matplotlib.text import Text

    texts: list[Text] = []
    keep = Text.draw

    def draw_and_keep(self, *arguments, **more):
        texts.append(self)
        return keep(self, *arguments, **more)

    monkeypatch.setattr(Text, "draw", draw_and_keep)
    image, file = Image.new("RGB", (40, 30)), io.BytesIO()
    guesses = (Guess(name, 0.5),)
    draw(name, image, [replace(region((0, 0, 9, 9)), teacher=guesses)], "energy", file)
    draw_sheet(name, [(image, TileCaption(name, 0.5, guesses))], file)
    named = [one for one in texts if name in one.get_text()]
    assert len(named) >= 5
    assert not any(one.get_parse_math() for one in named)
