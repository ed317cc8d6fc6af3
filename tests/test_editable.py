"""An installed clone is found from any folder, one that holds a folder called fdbpl included."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[1]
PACKAGES = ("fdbpl", "flows")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with little in it, and `installed`: what installing it as editable unpacks."""
    root = tmp_path_factory.mktemp("clone")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(CLONE / name, root / name)
    for name in PACKAGES:
        (root / name).mkdir()
        shutil.copyfile(CLONE / name / "__init__.py", root / name / "__init__.py")
    code = "from setuptools.build_meta import build_editable; print(build_editable('wheels'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True
    )
    with zipfile.ZipFile(root / "wheels" / done.stdout.split()[-1]) as wheel:
        wheel.extractall(root / "installed")
    return root


@pytest.mark.parametrize("package", PACKAGES)
def test_a_folder_of_the_packages_name_hides_nothing(
    clone: Path, tmp_path: Path, package: str
) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "pictures").mkdir()
    code = f"import site; site.addsitedir({str(clone / 'installed')!r}); import {package}"
    show = f"{code}; print({package}.__file__)"
    # without the environment's own packages, its fdbpl among them
    command = [sys.executable, "-S", "-E", "-c", show]
    found = subprocess.check_output(command, cwd=tmp_path, text=True)
    assert found.strip() == str(clone / package / "__init__.py")
