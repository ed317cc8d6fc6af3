from pathlib import Path

import open_clip
import pytest

from fdbpl.data.names import read_vocabulary
from fdbpl.system.errors import UserError


def test_names_keep_their_order_and_are_taken_once(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("zebra\n\n sea_lion\nZebra\ncafe\u0301\nsea lion\n_\n", encoding="utf-8-sig")
    assert read_vocabulary(str(file)) == ("zebra", "sea lion", "caf\u00e9")


def test_the_names_of_imagenet_come_with_open_clip() -> None:
    names = read_vocabulary("imagenet")
    assert set(names) <= set(open_clip.IMAGENET_CLASSNAMES)
    assert len(names) == len({name.lower() for name in open_clip.IMAGENET_CLASSNAMES})


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt: No such file.*data\.vocabulary"):
        read_vocabulary(str(tmp_path / "none.txt"))
    file = tmp_path / "one.txt"
    file.write_text("dog\nDog\n")
    with pytest.raises(UserError, match=r"one\.txt: 1 names in it, wanted at least 2"):
        read_vocabulary(str(file))
