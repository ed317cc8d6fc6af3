"""Answers as lines: what is written can be read back."""

import csv
import io
import json
import os

from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl.serving.formats import (
    MAYBE,
    NONE,
    csv_header,
    csv_line,
    json_line,
    table_line,
)
from fdbpl.serving.predictor import Prediction
from fdbpl.serving.stream import Answer

paths = st.binary(min_size=1, max_size=20).map(lambda one: os.fsdecode(one.replace(b"\0", b"")))
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
predictions = st.builds(
    Prediction,
    top=st.lists(st.tuples(words, st.floats(0, 1)), min_size=1, max_size=4).map(tuple),
    score=st.floats(-100, 100),
    known=st.sampled_from([True, False, None]),
)
good = st.builds(Answer, path=paths, prediction=predictions)
bad = st.builds(Answer, path=paths, error=words)

OWL = Prediction((("owl", 0.876), ("T-shirt", 0.1)), 3.25, True)


@given(answer=good)
def test_a_json_line_has_its_keys_and_no_others(answer: Answer) -> None:
    line = json_line(answer)
    assert "\n" not in line
    line.encode()  # is UTF-8, whatever bytes the path has
    found = json.loads(line)
    assert list(found) == ["path", "top", "score", "known"]
    assert os.fsencode(found["path"]) == os.fsencode(answer.path)
    assert [name for name, _ in found["top"]] == [name for name, _ in answer.prediction.top]
    for (_, told), (_, wanted) in zip(found["top"], answer.prediction.top, strict=True):
        assert abs(told - wanted) <= 1e-6
    assert abs(found["score"] - answer.prediction.score) <= 1e-6
    assert found["known"] is answer.prediction.known


@given(answer=bad)
def test_a_json_line_of_what_cannot_be_read(answer: Answer) -> None:
    found = json.loads(json_line(answer))
    assert found == {"path": answer.path, "error": answer.error}
    assert list(found) == ["path", "error"]


@settings(max_examples=50)
@given(answers=st.lists(st.one_of(good, bad), max_size=3), say_none=st.booleans())
def test_csv_is_parsed_back(answers: list[Answer], say_none: bool) -> None:
    text = "\n".join([csv_header(4), *(csv_line(one, top=4, say_none=say_none) for one in answers)])
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    classes = [f"{what}_{rank}" for rank in (1, 2, 3, 4) for what in ("class", "probability")]
    assert head == ["path", *classes, "score", "known", "error"]
    assert len(rows) == len(answers)
    for row, answer in zip(rows, answers, strict=True):
        found = dict(zip(head, row, strict=True))
        assert found["path"] == answer.path
        if answer.prediction is None:
            assert found["error"] == answer.error
            assert set(row[1:-1]) == {""}
            continue
        assert found["known"] == {True: "true", False: "false", None: ""}[answer.prediction.known]
        assert abs(float(found["score"]) - answer.prediction.score) <= 1e-6
        for rank, (name, probability) in enumerate(answer.prediction.top, 1):
            is_none = say_none and rank == 1 and answer.prediction.known is False
            assert found[f"class_{rank}"] == (NONE if is_none else name)
            assert abs(float(found[f"probability_{rank}"]) - probability) <= 1e-6
        for rank in range(len(answer.prediction.top) + 1, 5):
            assert found[f"class_{rank}"] == found[f"probability_{rank}"] == ""


@given(answer=st.one_of(good, bad), say_none=st.booleans())
def test_an_answer_in_a_table_is_one_line_that_a_terminal_can_show(answer, say_none) -> None:
    line = table_line(Answer(answer.path, OWL, answer.error), say_none=say_none)
    assert line.encode(errors="surrogateescape").decode(errors="replace").isprintable()
    told = table_line(answer, say_none=say_none)
    if answer.prediction is None:
        assert told.isprintable() or any("\udc80" <= one <= "\udcff" for one in told)
        assert ": error: " in told


def test_what_a_table_says_of_what_is_known_and_of_what_is_not() -> None:
    def said(known: bool | None, say_none: bool) -> str:
        prediction = Prediction(OWL.top, OWL.score, known)
        return table_line(Answer("a é.png", prediction), say_none=say_none)

    for say_none in (True, False):
        assert said(True, say_none) == said(None, say_none) == "a é.png: owl 88%, T-shirt 10%"
    assert said(False, False) == f"a é.png: owl 88%, T-shirt 10% ({MAYBE})"
    assert said(False, True) == f"a é.png: {NONE} (owl 88%, T-shirt 10%)"
