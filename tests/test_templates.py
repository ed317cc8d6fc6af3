from fdbpl.clip.model import ClipModel
from fdbpl.clip.templates import ENSEMBLE, with_room


def test_the_ensemble_is_seven_templates_with_one_gap_each() -> None:
    assert len(set(ENSEMBLE)) == 7
    assert all(template.count("{}") == 1 for template in ENSEMBLE)


def test_a_template_too_long_for_any_class_is_left_out_for_all(clip: ClipModel) -> None:
    assert with_room(clip, ["cat", "dog"], ENSEMBLE) == list(ENSEMBLE)
    name = " ".join(["cat"] * 26)  # 32 tokens: room for start, end, full stop and three more
    kept = with_room(clip, ["dog", name], ENSEMBLE)
    assert kept == ["a origami {}.", "art of the {}."]
    assert with_room(clip, [" ".join(["cat"] * 40)], ENSEMBLE) == []
