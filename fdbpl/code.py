"""Which code decides what: digests by which remembered results are told from outdated ones."""

from functools import cache
from pathlib import Path

import fdbpl
from fdbpl.system.files import canonical_json, sha256

CODE_OF_INPUTS = (
    *("cache", "clip", "data", "playground", "regions"),
    *("system/device.py", "data/images.py"),
    *("stages/cache_teacher.py", "stages/caches.py", "stages/prepare_crops.py"),
    "training/learning.py",
)
CODE_OF_TRAINING = (  # that evaluates what was learned, too
    *("cache", "clip", "methods", "playground/tiny", "regions", "training"),
    *("artifact.py", "system/blas.py", "system/device.py", "data/images.py"),
    *("data/dataset.py", "evaluation/accuracy.py", "evaluation/fitted.py"),
    *("stages/caches.py", "stages/evaluate.py"),
    *("stages/imported.py", "stages/sources.py", "stages/train_student.py"),
)


@cache
def code_digest(parts: tuple[str, ...]) -> str:
    """Return the digest of modules and packages of fdbpl, packaged weights included."""
    home = Path(fdbpl.__file__).parent
    files = [
        file
        for part in parts
        for file in ([home / part] if part.endswith(".py") else sorted((home / part).rglob("*")))
        if file.is_file() and "__pycache__" not in file.parts
    ]
    digests = [[file.relative_to(home).as_posix(), sha256(file.read_bytes())] for file in files]
    return sha256(canonical_json(digests))
