import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.data.dataset import UNKNOWN, Item
from fdbpl.data.splits import base_and_new, draw_order, hold_out
from fdbpl.system.errors import UserError

items = st.lists(
    st.builds(Item, st.text("abc/", min_size=1, max_size=6), st.integers(0, 6)), unique=True
)
seeds = st.integers(0, 2**32 - 1)


@given(items)
def test_base_is_the_first_half_of_the_labels_rounded_up(train) -> None:
    labels = sorted({item.label for item in train})
    base, new = base_and_new(train)
    assert list(base + new) == labels
    assert len(base) == -(-len(labels) // 2)


@given(items, seeds, st.randoms(use_true_random=False))
def test_the_order_of_listing_does_not_matter(listed, seed, random) -> None:
    shuffled = random.sample(listed, len(listed))
    assert draw_order(shuffled, seed) == draw_order(listed, seed)
    assert base_and_new(shuffled) == base_and_new(listed)


@given(items, seeds)
def test_every_image_is_drawn_once_in_its_class(listed, seed) -> None:
    order = draw_order(listed, seed)
    assert sorted(item for group in order.values() for item in group) == sorted(listed)
    assert all(item.label == label for label, group in order.items() for item in group)


@given(items, items, seeds)
def test_adding_images_or_classes_moves_no_other_image(few, more, seed) -> None:
    before = draw_order(few, seed)
    after = draw_order([*few, *(item for item in more if item not in few)], seed)
    for label, group in before.items():
        assert [item for item in after[label] if item in group] == group


def test_seeds_draw_different_orders_that_never_drift() -> None:
    listed = [Item(f"{index}.png", 0) for index in range(6)]
    orders = {
        seed: "".join(item.path[0] for item in draw_order(listed, seed)[0]) for seed in (1, 2, 3)
    }
    assert orders == {1: "410352", 2: "412035", 3: "450231"}


def test_any_image_may_come_first() -> None:
    listed = [Item(f"{index}.png", 0) for index in range(5)]
    firsts = [draw_order(listed, seed)[0][0].path for seed in range(500)]
    counts = [firsts.count(item.path) for item in listed]
    assert min(counts) > 60
    assert max(counts) < 140


some_unknown = st.lists(
    st.builds(Item, st.text("abc/", min_size=1, max_size=6), st.integers(UNKNOWN, 3)), unique=True
)


@given(some_unknown, st.randoms(use_true_random=False))
def test_a_fifth_of_each_class_is_held_out_whatever_the_order(listed, random) -> None:
    train, test = hold_out(listed)
    assert sorted([*train, *test]) == sorted(listed)
    assert hold_out(random.sample(listed, len(listed))) == (train, test)
    for label in {item.label for item in listed}:
        size, tested = (sum(i.label == label for i in items) for items in (listed, test))
        if label == UNKNOWN or size == 1:
            assert tested == 0
        else:
            assert tested == max(1, size // 5)
            assert tested < size


def test_what_is_held_out_never_drifts() -> None:
    listed = [Item(f"{index}.png", 0) for index in range(10)]
    assert [item.path for item in hold_out(listed)[1]] == ["0.png", "8.png"]


def test_images_without_class_have_no_halves() -> None:
    with pytest.raises(UserError, match="training images without a class"):
        base_and_new([Item("a", 0), Item("b", UNKNOWN)])
