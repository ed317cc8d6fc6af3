"""ONNX Runtime for browsers, the npm package onnxruntime-web: from a folder, or by npm."""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fdbpl.system.errors import UserError

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of the archive of this version, as the npm registry tells it."""

# Called .js, since some servers send .mjs files as no scripts.
FILES: Mapping[str, str] = {
    "dist/ort.wasm.min.mjs": "ort.js",
    "dist/ort-wasm-simd-threaded.mjs": "ort-wasm.js",
    "dist/ort-wasm-simd-threaded.wasm": "ort.wasm",
}
"""By its path in the package, the name that a file gets."""

ABOUT = "package.json"
LARGEST = 64_000_000
"""Bytes of a file that is unpacked."""

SECONDS = 600


@dataclass(frozen=True)
class OrtWeb:
    """The runtime.

    Attributes:
        version: of the package.
        files: by the names of `FILES`.
    """

    version: str
    files: Mapping[str, bytes]


def ort_web(folder: Path | None) -> OrtWeb:
    """Return the runtime from a folder of the package, or from what npm fetches.

    Raises:
        UserError: the folder is no such package; npm is not there, or fails; or what it fetched is
            another archive than the one of `VERSION`.
    """
    if folder is not None:
        return _of_folder(folder)
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"npm is not there, which fetches {PACKAGE}. Install Node.js, or run npm pack "
            f"{PACKAGE}@{VERSION} elsewhere, unpack it, and name its folder by --ort-web."
        )
    with tempfile.TemporaryDirectory() as place:
        return of_archive(_packed(npm, Path(place)))


def _of_folder(folder: Path) -> OrtWeb:
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["name"] != PACKAGE:
            raise ValueError(about["name"])
        files = {name: (folder / path).read_bytes() for path, name in FILES.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--ort-web is {folder}, and that is no folder of the npm package {PACKAGE} "
            f"({type(error).__name__}: {error}). Wanted one with {ABOUT} and "
            f"{', '.join(FILES)}, as npm install {PACKAGE}@{VERSION} leaves it in node_modules."
        ) from None
    return OrtWeb(str(about.get("version", "unknown")), files)


def _packed(npm: str, place: Path) -> Path:
    """Let npm fetch the archive into a folder."""
    words = [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--pack-destination", "."]
    try:
        done = subprocess.run(
            words, cwd=place, capture_output=True, text=True, check=False, timeout=SECONDS
        )
        said = done.stderr.strip()
    except subprocess.TimeoutExpired:
        said = f"not done after {SECONDS} s"
    found = list(place.glob("*.tgz"))
    if not found:
        raise UserError(
            f"npm pack {PACKAGE}@{VERSION} failed: {' '.join(said.split())[-300:]}. Connect to the "
            "network, or name a folder of the package by --ort-web."
        )
    return found[0]


def of_archive(archive: Path) -> OrtWeb:
    """Return the runtime from the archive of `VERSION`.

    Only the files that are wanted are unpacked, into memory.

    Raises:
        UserError: it is another archive.
    """
    data = archive.read_bytes()
    found = base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != SHA512:
        raise UserError(
            f"{archive.name}: SHA-512 {found[:16]}, wanted {SHA512[:16]}: not what {PACKAGE} "
            f"{VERSION} is. Do not use it; ask whose registry npm is set to."
        )
    files = {}
    with tarfile.open(archive) as packed:
        for path, name in FILES.items():
            member = packed.getmember(f"package/{path}")
            unpacked = packed.extractfile(member) if member.size <= LARGEST else None
            if unpacked is None:
                raise UserError(f"{archive.name}: {path} is no plain file. Report this.")
            files[name] = unpacked.read()
    return OrtWeb(VERSION, files)
