from pathlib import Path

import pytest
from layouts import VARIANTS, draw_layout

from fdbpl.data.readers.aircraft import LAYOUTS, NAME
from fdbpl.system.errors import UserError


def test_labels_follow_the_file_of_variants(tmp_path: Path) -> None:
    draw_layout(NAME, tmp_path)
    (tmp_path / NAME / "variants.txt").write_text("\n".join(reversed(VARIANTS)) + "\n")
    dataset = LAYOUTS[NAME].read(NAME, tmp_path)
    assert dataset.class_names == VARIANTS[::-1]
    assert dataset.train[0] == ("0034310.jpg", 4)
    assert dataset.folder == tmp_path / NAME / "images"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("../../1 707-320", "leads outside"),
        ("link 707-320", "leads outside"),
        ("0034310 707", "variant '707' is not in variants.txt"),
        ("0034310", "variant '' is not in variants.txt"),
    ],
)
def test_a_wrong_line_is_named(line: str, says: str, tmp_path: Path) -> None:
    draw_layout(NAME, tmp_path)
    (tmp_path / NAME / "images" / "link.jpg").symlink_to("/etc/hostname")
    path = tmp_path / NAME / "images_variant_val.txt"
    path.write_text(f"\n{path.read_text()}{line}\n")
    with pytest.raises(UserError) as error:
        LAYOUTS[NAME].read(NAME, tmp_path)
    assert str(error.value).startswith(f"{path}, line 7: ")
    assert says in str(error.value)
