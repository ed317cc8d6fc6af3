"""YAML that asks for too much is refused soon; the rest is in test_params.py."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml.error import YAMLError

from fdbpl.settings.params import read_params
from fdbpl.settings.yaml_text import load_yaml
from fdbpl.system.errors import UserError


def aliases(levels: int, wide: int = 10) -> str:
    """Lists of lists, each named by its first and repeated by aliases: wide ** levels values."""
    text = f"&a0 [{', '.join('x' * wide)}]"
    for level in range(1, levels):
        text = f"&a{level} [{', '.join([text, *[f'*a{level - 1}'] * (wide - 1)])}]"
    return text


def merges(levels: int, wide: int = 10) -> str:
    """Mappings that take in the one before ten times over."""
    lines = ["b0: &b0 {x: 1}"]
    for level in range(1, levels):
        again = ", ".join([f"*b{level - 1}"] * wide)
        lines.append(f"b{level}: &b{level} {{<<: [{again}]}}")
    return "\n".join(lines)


TOO_MUCH = {
    "aliases": (f"datasets: {aliases(9)}", "1,111,111,11. values when its aliases"),
    "merges": (merges(9), "values when its aliases"),
    "within itself": ("datasets: &a [*a]", "stands within what it names"),
    "key within itself": ("&a {? *a : 1}", "stands within what it names"),
    "depth": ("datasets: " + "[" * 700 + "]" * 700, "nested too deep"),
    "length": ("# " + "x" * (1 << 20), "1,048,578 letters"),
    "digits": ("seeds: [" + "9" * 5000 + "]", "digits"),
    "hex digits": ("datasets: 0x" + "f" * 5000, "datasets' is a number of too many digits"),
    "no such day": ("shots: 2001-99-99", "month"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_asks_for_too_much_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    text, says = TOO_MUCH[name]
    path, start = tmp_path / "params.yaml", time.monotonic()
    path.write_text(text)
    with pytest.raises(UserError, match=says) as refused:
        read_params(path)
    assert time.monotonic() - start < 30
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_aliases_of_ordinary_use_are_read() -> None:
    text = "a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, x: 2}\nc: *a\n"
    a = {"x": 1, "y": [1, 2]}
    assert load_yaml(text) == {"a": a, "b": {"x": 2, "y": [1, 2]}, "c": a}
    assert len(load_yaml(aliases(4))) == 10
    with pytest.raises(YAMLError, match="values"):
        load_yaml(aliases(5))


def test_a_command_ends_soon_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(f"datasets: {aliases(9)}\nmethods: [zero_shot]\n")
    done = subprocess.run(
        ["bash", "-c", 'ulimit -v 8000000; exec "$0" -m fdbpl prepare-crops mine', sys.executable],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
