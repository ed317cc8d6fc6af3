import json

import pytest
from builds import IDENTITY

from fdbpl.cache.format import UnknownVersion
from fdbpl.cache.manifest import (
    DamagedManifest,
    Manifest,
    OtherCache,
    ShardEntry,
    Table,
    parse,
    render,
    require_identity,
)
from fdbpl.system.files import canonical_json, readable_json, sha256

SHARD = ShardEntry(name="train-00000-ab.shard", rows=3, bytes=99, head_crc=5, sha256="ef" * 32)
MANIFEST = Manifest(identity=IDENTITY, tables={"train": Table(rows=3, columns={}, shards=(SHARD,))})


def test_round_trip() -> None:
    data = render(MANIFEST)
    assert parse(data, "m") == MANIFEST
    assert render(parse(data, "m")) == data
    assert json.loads(data)["digest"]


def test_every_flipped_bit_is_found() -> None:
    data = bytearray(render(MANIFEST))
    for bit in range(len(data) * 8):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DamagedManifest, UnknownVersion), match=r"where/manifest\.json"):
            parse(bytes(data), "where/manifest.json")
        data[bit // 8] ^= 1 << bit % 8
    assert parse(bytes(data), "m") == MANIFEST


def test_every_truncation_and_other_files_are_damaged_manifests() -> None:
    data = render(MANIFEST)
    others = [b"[]", b"1", b"null", b'{"format": 1}', b"\xff"]
    for damaged in [*others, *(data[:size] for size in range(len(data)))]:
        with pytest.raises(DamagedManifest):
            parse(damaged, "m")


def edited(**changes: object) -> bytes:
    fields = {**MANIFEST.model_dump(mode="json"), **changes}
    return readable_json({**fields, "digest": sha256(canonical_json(fields))})


def test_unknown_versions_and_fields_are_refused_clearly() -> None:
    with pytest.raises(UnknownVersion, match="version 3, this fdbpl reads 2"):
        parse(edited(format=3), "m")
    with pytest.raises(DamagedManifest, match="unexpected"):
        parse(edited(more=1), "m")


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"kind": "student"}, r'kind is "teacher", wanted "student"'),
        ({"plan": "00"}, r'plan is "abab.*wanted "00"'),
        (
            {"encoder": {**IDENTITY.encoder, "activation": "quick_gelu"}},
            r'encoder.activation is "gelu", wanted "quick_gelu"',
        ),
        (
            {"encoder": {**IDENTITY.encoder, "preprocessing": {"size": 64}}},
            r"encoder.preprocessing.size is 48, wanted 64",
        ),
        ({"encoder": {**IDENTITY.encoder, "more": 1}}, r"encoder.more is absent, wanted 1"),
        ({"policy": {"seed": 2, "scale": (0.08, 1)}}, r"policy.seed is 1, wanted 2"),
        ({"payload": {"name": "int8"}}, r'payload.name is "float16", wanted "int8"'),
        ({"images": "34"}, r'of another list of images: images is "1212.*wanted "34"'),
        ({"dataset": "icons"}, r'dataset is "textures", wanted "icons"'),
        ({"decoder": "fdbpl-1/pillow-14"}, r"decoder is .*13.*wanted .*14"),
        ({"model": {"source": "file 00"}}, r'model.source is "tiny", wanted "file 00"'),
        ({"policy": {"scale": [0.08, 0.9]}}, r"policy.scale.1 is 1.0, wanted 0.9"),
    ],
)
def test_the_first_field_that_differs_is_named(expected: dict, message: str) -> None:
    with pytest.raises(OtherCache, match=rf"here/manifest\.json.*{message}.*build the cache again"):
        require_identity(IDENTITY, expected, "here/manifest.json")


def test_the_same_identity_is_accepted_whole_or_in_part() -> None:
    require_identity(IDENTITY, IDENTITY.model_dump(), "m")
    require_identity(IDENTITY, {"policy": {"scale": (0.08, 1.0), "seed": 1}}, "m")
    require_identity(IDENTITY, {"policy": {"seed": 1}}, "m")
    require_identity(IDENTITY, {}, "m")
