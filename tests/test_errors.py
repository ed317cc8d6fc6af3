"""The line that tells an error of the system."""

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.system.errors import UserError, told


@given(st.sampled_from(sorted(errno.errorcode)), st.text(min_size=1))
def test_a_line_names_the_file_what_is_wrong_and_the_next_step(number: int, file: str) -> None:
    line = told(OSError(number, os.strerror(number), file))
    assert line is not None
    assert len(line.splitlines()) == 1
    assert line.endswith(", then run again.")
    if file.isprintable():
        assert line.startswith(f"{file}: {os.strerror(number)}. ")


def test_a_users_error_is_its_own_line() -> None:
    assert told(UserError("params.yaml: no such file.")) == "params.yaml: no such file."
    assert told(UserError("a\nb\x1b[31m: no é.")) == r"a\nb\x1b[31m: no é."


@pytest.mark.parametrize("error", [OSError("no file"), OSError(errno.EIO, "bad"), TimeoutError()])
def test_an_error_that_names_no_file_has_no_line(error: OSError) -> None:
    assert told(error) is None
