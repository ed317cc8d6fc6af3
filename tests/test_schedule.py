import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.methods.params import TrainParams
from fdbpl.training.schedule import epoch_batches, learning_rate

seeds = st.integers(0, 2**32 - 1)


def test_the_rates_of_coops_schedule_by_hand() -> None:
    params = TrainParams(lr=0.002, warmup_lr=1e-5, epochs=4)
    rates = [learning_rate(params, epoch) for epoch in range(4)]
    half = math.sqrt(0.5)
    assert rates == pytest.approx([1e-5, 0.002, 0.001 * (1 + half), 0.001])


def test_after_the_warm_up_the_rate_is_torchs_cosine() -> None:
    params = TrainParams(lr=0.1, epochs=50)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=params.lr)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, params.epochs)
    for epoch in range(1, params.epochs):
        assert learning_rate(params, epoch) == pytest.approx(cosine.get_last_lr()[0])
        optimiser.step()
        cosine.step()


def rows_of(images, crops=4, batch=3, epoch=0, seed=0) -> list[tuple[np.ndarray, np.ndarray]]:
    chosen = np.asarray(images)
    return list(epoch_batches(chosen, crops=crops, batch=batch, epoch=epoch, seed=seed))


@given(
    images=st.lists(st.integers(0, 99), min_size=1, max_size=20, unique=True),
    crops=st.integers(1, 6),
    batch=st.integers(1, 8),
    epoch=st.integers(0, 9),
    seed=seeds,
)
def test_an_epoch_shows_each_image_at_most_once(images, crops, batch, epoch, seed) -> None:
    batches = rows_of(images, crops, batch, epoch, seed)
    size = min(batch, len(images))
    assert [len(chosen) for chosen, _ in batches] == [size] * (len(images) // size)
    assert len(batches) == max(1, len(images) // batch)
    chosen = np.concatenate([chosen for chosen, _ in batches])
    rows = np.concatenate([rows for _, rows in batches])
    assert len(set(chosen.tolist())) == len(chosen)
    assert set(chosen.tolist()) <= set(images)
    assert (rows // crops == chosen).all()


@given(images=st.integers(1, 12), crops=st.integers(1, 5), seed=seeds, cycle=st.integers(0, 2))
def test_as_many_epochs_as_crops_show_every_crop_once(images, crops, seed, cycle) -> None:
    seen = [
        row
        for epoch in range(cycle * crops, (cycle + 1) * crops)
        for _, rows in rows_of(np.arange(images), crops, images, epoch, seed)
        for row in rows.tolist()
    ]
    assert sorted(seen) == list(range(images * crops))


def test_the_seed_decides_the_order_and_the_crops() -> None:
    images = np.arange(40)
    first, again, other, later = (
        np.concatenate([rows for _, rows in rows_of(images, 4, 8, epoch, seed)])
        for seed, epoch in ((1, 0), (1, 0), (2, 0), (1, 1))
    )
    assert (first == again).all()
    for different in (other, later):
        assert (first // 4 != different // 4).any()
        assert sorted(first % 4) != [0] * 40
        assert (np.sort(first) != np.sort(different)).any()


def test_images_go_through_their_crops_each_in_its_own_order() -> None:
    orders = {
        tuple(
            int(rows[np.flatnonzero(chosen == image)[0]]) % 4
            for epoch in range(4)
            for chosen, rows in rows_of(np.arange(30), 4, 30, epoch)
        )
        for image in range(30)
    }
    assert len(orders) > 10


def test_the_global_generator_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    rows_of(np.arange(9))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
