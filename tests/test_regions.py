import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl.regions.boxes import DRAWS, REGION, TRIES, CropPolicy, _draws, draw_regions
from fdbpl.system.errors import UserError

HASH = bytes(range(16))
POLICY = CropPolicy()

sizes = st.integers(1, 5000)
seeds = st.integers(0, 2**64 - 1)
hashes = st.binary(min_size=16, max_size=16)


def torchvision_box(row, width: int, height: int, policy: CropPolicy) -> tuple[int, ...]:
    """RandomResizedCrop.get_params written plainly, one scalar at a time."""
    draws = iter(row)
    smallest, largest = policy.scale
    for _ in range(TRIES):
        area = width * height * (smallest + next(draws) * (largest - smallest))
        low, high = (math.log(r) for r in policy.ratio)
        ratio = math.exp(low + next(draws) * (high - low))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        u, v = next(draws), next(draws)
        if 0 < w <= width and 0 < h <= height:
            left, top = int(u * (width - w + 1)), int(v * (height - h + 1))
            return left, top, left + w, top + h
    w, h = width, height
    if width / height < policy.ratio[0]:
        h = max(1, round(w / policy.ratio[0]))
    elif width / height > policy.ratio[1]:
        w = max(1, round(h * policy.ratio[1]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def test_known_answers_so_that_the_generator_never_drifts() -> None:
    regions = draw_regions(1, 7, HASH, 640, 480, 4, POLICY)
    assert regions.dtype == REGION
    assert regions["image"].tolist() == [7, 7, 7, 7]
    assert regions["crop"].tolist() == [0, 1, 2, 3]
    assert regions["box"].tolist() == [
        [91, 51, 518, 412],
        [93, 163, 388, 432],
        [40, 55, 576, 472],
        [7, 65, 485, 449],
    ]
    flips = draw_regions(1, 7, HASH, 640, 480, 16, POLICY)["flip"]
    assert "".join(map(str, flips)) == "0000000011101000"


@settings(max_examples=100, deadline=None)
@given(seed=seeds, image_hash=hashes, width=sizes, height=sizes)
def test_boxes_follow_torchvisions_law(seed, image_hash, width, height) -> None:
    regions = draw_regions(seed, 0, image_hash, width, height, 8, POLICY)
    for region, row in zip(regions, _draws(seed, image_hash, 8), strict=True):
        assert tuple(region["box"].tolist()) == torchvision_box(row, width, height, POLICY)


@settings(max_examples=200, deadline=None)
@given(
    seed=seeds,
    width=sizes,
    height=sizes,
    scale=st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)).map(sorted).map(tuple),
    ratio=st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)).map(sorted).map(tuple),
)
def test_boxes_lie_inside_the_image(seed, width, height, scale, ratio) -> None:
    regions = draw_regions(seed, 0, HASH, width, height, 16, CropPolicy(scale, ratio))
    left, top, right, bottom = regions["box"].T
    assert ((left >= 0) & (left < right) & (right <= width)).all()
    assert ((top >= 0) & (top < bottom) & (bottom <= height)).all()


def test_area_and_ratio_stay_in_range_on_an_ordinary_image() -> None:
    regions = draw_regions(3, 0, HASH, 1000, 1000, 4000, CropPolicy((0.2, 0.5), (0.5, 2.0)))
    left, top, right, bottom = regions["box"].T.astype(float)
    area, ratio = (right - left) * (bottom - top) / 1e6, (right - left) / (bottom - top)
    assert area.min() > 0.198
    assert area.max() < 0.502
    assert ratio.min() > 0.49
    assert ratio.max() < 2.02
    # Uniform in area, uniform in the logarithm of the ratio, places uniform, half flipped.
    assert abs(area.mean() - 0.35) < 0.01
    assert abs(np.log(ratio).mean()) < 0.03
    assert abs((left / (1000 - (right - left))).mean() - 0.5) < 0.02
    assert abs((top / (1000 - (bottom - top))).mean() - 0.5) < 0.02
    assert abs(regions["flip"].mean() - 0.5) < 0.03


def test_the_distribution_is_that_of_torchvision() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.zeros(1, 300, 500)
        theirs = [
            transforms.RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
            for _ in range(4000)
        ]
    top, left, h, w = np.array(theirs, float).T
    ours = draw_regions(1, 0, HASH, 500, 300, 4000, POLICY)["box"].astype(float)
    for mine, other in zip(ours.T, (left, top, left + w, top + h), strict=True):
        quantiles = np.linspace(0.05, 0.95, 10)
        assert np.abs(np.quantile(mine, quantiles) - np.quantile(other, quantiles)).max() < 20


@given(seed=seeds, image_hash=hashes, more=st.integers(0, 40), count=st.integers(0, 40))
def test_a_box_never_moves_when_crops_are_added(seed, image_hash, more, count) -> None:
    few = draw_regions(seed, 0, image_hash, 300, 200, count, POLICY)
    many = draw_regions(seed, 0, image_hash, 300, 200, count + more, POLICY)
    assert (many[:count] == few).all()


@given(seed=seeds, image=st.integers(0, 2**32 - 1))
def test_a_box_never_moves_when_images_shots_or_classes_are_added(seed, image) -> None:
    alone = draw_regions(seed, 0, HASH, 300, 200, 5, POLICY)
    among = draw_regions(seed, image, HASH, 300, 200, 5, POLICY)
    assert (among["image"] == image).all()
    for field in ("crop", "box", "flip"):
        assert (alone[field] == among[field]).all()


def test_drawing_leaves_numpys_global_generator_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_regions(1, 0, HASH, 30, 20, 3, POLICY)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_images_and_seeds_have_streams_of_their_own() -> None:
    tables = [
        _draws(seed, image_hash, 3)
        for seed in (0, 1, 2**64 - 1)
        for image_hash in (HASH, HASH[::-1], bytes(16))
    ]
    values = np.concatenate([table.ravel() for table in tables])
    assert len(np.unique(values)) == len(tables) * 3 * DRAWS
    assert ((values >= 0) & (values < 1)).all()


def test_flip_changes_no_box() -> None:
    never, always = (
        draw_regions(1, 0, HASH, 300, 200, 50, CropPolicy(flip=flip)) for flip in (0.0, 1.0)
    )
    assert (never["box"] == always["box"]).all()
    assert never["flip"].sum() == 0
    assert always["flip"].sum() == 50


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes_fall_back_to_the_centre(width: int, height: int) -> None:
    left, top, right, bottom = draw_regions(1, 0, HASH, width, height, 20, POLICY)["box"].T
    assert ((right - left) * (bottom - top) >= 1).all()
    assert (right <= width).all()
    assert (bottom <= height).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scale", (0.0, 1.0)),
        ("scale", (0.5, 0.2)),
        ("scale", (0.5, 1.2)),
        ("scale", (math.nan, 1.0)),
        ("ratio", (2.0, 1.0)),
        ("ratio", (0.0, 1.0)),
        ("ratio", (1.0, math.inf)),
        ("flip", 1.5),
        ("flip", math.nan),
    ],
)
def test_wrong_policies_are_refused(field: str, value: object) -> None:
    with pytest.raises(UserError, match=field):
        CropPolicy(**{field: value})


def test_wrong_seeds_and_sizes_are_refused() -> None:
    for seed in (-1, 2**64):
        with pytest.raises(UserError, match="seed"):
            draw_regions(seed, 0, HASH, 3, 3, 1, POLICY)
    with pytest.raises(UserError, match="0 x 3"):
        draw_regions(1, 0, HASH, 0, 3, 1, POLICY)


def test_the_policys_fields_are_json() -> None:
    import json

    fields = CropPolicy().fields()
    assert set(fields) == {"generator", "scale", "ratio", "flip"}
    json.dumps(fields)
