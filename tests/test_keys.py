import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fdbpl.cache.keys import sortable, view_keys
from fdbpl.system.files import canonical_json, sha256

DIGEST = sha256(canonical_json({"encoder": "x"}))
HASHES = np.arange(32, dtype=np.uint8).reshape(2, 16)
BOXES = np.array([[0, 0, 5, 6], [1, 2, 3, 4]], np.int32)
FLIPS = np.array([0, 1], np.uint8)


def test_a_key_is_the_plain_hash_of_what_decides_the_feature() -> None:
    keys = view_keys(DIGEST, HASHES, BOXES, FLIPS)
    message = bytes.fromhex(DIGEST) + HASHES[1].tobytes() + b"\1" + BOXES[1].tobytes() + b"\1"
    assert (
        keys[1].tobytes()
        == hashlib.blake2b(message, digest_size=16, person=b"fdbpl view 1").digest()
    )


def test_known_answers_so_that_keys_never_drift() -> None:
    assert DIGEST[:16] == "106f395aedca92b7"
    assert (
        view_keys(DIGEST, HASHES, BOXES, FLIPS)[0].tobytes().hex()
        == "b593f94ba7297aeb54a39a2e4fe58be0"
    )
    assert view_keys(DIGEST, HASHES)[0].tobytes().hex() == "d6c916e51ac60dcc941b7a916b5159d6"


def test_every_part_changes_the_key() -> None:
    base = view_keys(DIGEST, HASHES, BOXES, FLIPS)
    for other in (
        view_keys("ab" * 32, HASHES, BOXES, FLIPS),
        view_keys(DIGEST, HASHES + 1, BOXES, FLIPS),
        view_keys(DIGEST, HASHES, BOXES + np.array([0, 0, 0, 1], np.int32), FLIPS),
        view_keys(DIGEST, HASHES, BOXES, 1 - FLIPS),
        view_keys(DIGEST, HASHES),
    ):
        assert (base != other).any(axis=1).all()
    zero = view_keys(DIGEST, HASHES, np.zeros((2, 4), np.int32), np.zeros(2, np.uint8))
    assert (zero != view_keys(DIGEST, HASHES)).any(axis=1).all()


def test_no_views_no_keys() -> None:
    assert view_keys(DIGEST, HASHES[:0]).shape == (0, 16)


@given(keys=hnp.arrays(np.uint8, (20, 16), elements=st.sampled_from([0, 1, 255])))
def test_sortable_keys_order_and_compare_as_their_bytes(keys) -> None:
    plain = [key.tobytes() for key in keys]
    order = np.argsort(sortable(keys), kind="stable")
    assert [plain[i] for i in order] == sorted(plain)
    assert len(np.unique(sortable(keys))) == len(set(plain))
