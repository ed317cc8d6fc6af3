import numpy as np
import pytest
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.classify.decision import Decision, Discriminant, KeyValueCache, by_name

seeds = st.integers(0, 999)
NAMES = ["ant", "bee", "crow", "bee", "duck"]


def part(rng: np.random.Generator, learned: list[str], share: float = 0.5, unseen: str = "silent"):
    rows, seen = by_name(rng.standard_normal((len(learned), 5)), learned, NAMES)
    return Discriminant(rows, seen, share, unseen)


def drawn(seed: int) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng, unit(rng, 5, 4), unit(rng, 6, 4)


@given(seeds, st.sampled_from(["silent", "adds", "replaces"]))
def test_among_seen_classes_a_discriminant_has_its_share(seed: int, unseen: str) -> None:
    rng, vectors, features = drawn(seed)
    one = part(rng, ["crow", "ant", "bee"], 0.25, unseen)
    found = Decision(vectors, 10.0, {"memory": one}).logits(features, [1, 0, 2])
    for n, f in enumerate(features):
        for k, label in enumerate([1, 0, 2]):
            wanted = 0.25 * (one.rows[label, :4] @ f + one.rows[label, 4])
            wanted += 0.0 if unseen == "replaces" else 10 * f @ vectors[label]
            assert abs(found[n, k] - wanted) < 1e-5


@given(seeds, st.sets(st.integers(0, 4), min_size=1))
def test_one_class_never_seen_silences_a_silent_one(seed: int, among: set[int]) -> None:
    rng, vectors, features = drawn(seed)
    silent = {"memory": part(rng, ["ant", "bee", "crow"])}
    plain = Decision(vectors, 10.0).logits(features, sorted(among))
    found = Decision(vectors, 10.0, silent).logits(features, sorted(among))
    assert np.array_equal(plain, found) == bool(among & {3, 4})  # the second bee, the duck


@given(seeds, st.sampled_from(["adds", "replaces"]))
def test_any_other_leaves_classes_never_seen_as_they_are(seed: int, unseen: str) -> None:
    rng, vectors, features = drawn(seed)
    parts = {"one": part(rng, ["ant", "crow"], unseen=unseen)}
    plain = Decision(vectors, 10.0).logits(features, range(5))
    found = Decision(vectors, 10.0, parts).logits(features, range(5))
    assert found[:, [1, 3, 4]] == pytest.approx(plain[:, [1, 3, 4]])
    alone = Decision(vectors, 10.0, parts).logits(features, [0, 2])
    assert found[:, [0, 2]] == pytest.approx(alone)
    assert not np.allclose(alone, plain[:, [0, 2]])


def test_classes_of_one_name_are_told_by_their_order() -> None:
    one = part(np.random.default_rng(0), ["bee", "bee"])
    assert one.seen.tolist() == [0, 1, 0, 1, 0]
    assert not np.array_equal(one.rows[1], one.rows[3])


@given(seeds)
def test_a_share_of_nothing_is_nothing(seed: int) -> None:
    rng, vectors, features = drawn(seed)
    nothing = {"memory": part(rng, NAMES, share=0.0)}
    plain = Decision(vectors).logits(features, range(5))
    assert np.array_equal(Decision(vectors, parts=nothing).logits(features, range(5)), plain)


@given(seeds)
def test_parts_apply_in_their_order(seed: int) -> None:
    rng, vectors, features = drawn(seed)
    first, last = part(rng, NAMES, unseen="adds"), part(rng, ["ant"], unseen="replaces")
    found = Decision(vectors, 3.0, {"b": first, "a": last}).logits(features, range(5))
    wanted = first.applied(Decision(vectors, 3.0).logits(features, range(5)), features, range(5))
    classes = np.arange(5)
    assert np.array_equal(found, last.applied(wanted, features, classes))
    turned = Decision(vectors, 3.0, {"a": last, "b": first}).logits(features, range(5))
    assert not np.allclose(found[:, 0], turned[:, 0])


@given(seeds)
def test_a_projection_comes_before_all_else(seed: int) -> None:
    rng, vectors, features = drawn(seed)
    through, parts = rng.standard_normal((4, 4)), {"one": part(rng, NAMES)}
    projected = features @ through
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    found = Decision(vectors, 7.0, parts, through).logits(features, [3, 1])
    wanted = Decision(vectors, 7.0, parts).logits(projected, [3, 1])
    assert found == pytest.approx(wanted, abs=1e-4)


@given(seeds, st.booleans())
def test_it_is_read_back_from_its_arrays_and_its_spec(seed: int, projected: bool) -> None:
    rng, vectors, features = drawn(seed)
    keys = KeyValueCache(unit(rng, 7, 4), rng.integers(-1, 5, 7).astype(np.float32), 1.0, 5.5)
    parts = {"memory": part(rng, ["ant", "bee"]), "cache": keys, "b": part(rng, NAMES)}
    through = rng.standard_normal((4, 4)) if projected else None
    decision = Decision(vectors, 9.0, parts, through, "teacher")
    again = Decision.of(decision.arrays(), decision.spec())
    assert list(again.parts) == list(parts)
    assert again.sees == "teacher"
    for among in (range(5), [0, 1]):
        assert np.array_equal(again.logits(features, among), decision.logits(features, among))
    for name in decision.arrays():
        fewer = {key: one for key, one in decision.arrays().items() if key != name}
        if name != "projection":
            with pytest.raises(KeyError, match=name.split(".")[0]):
                Decision.of(fewer, decision.spec())
