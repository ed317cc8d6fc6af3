"""Learned classifiers as registered models, and the one rule that moves their alias.

A version is a model folder, as `fdbpl pack` writes it, behind `classifier.py`: it takes pictures.
"""

import base64
import io
import tempfile
import warnings
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fdbpl
from fdbpl.methods.registry import title_of
from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.serving.model_folder import FORMAT
from fdbpl.serving.predictor import KEEP
from fdbpl.system.errors import UserError
from fdbpl.tracking.records import Records, SeedRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

    from fdbpl.clip.model import ClipModel
    from fdbpl.settings.params import Params

REGISTERED = ("fdbpl",)
"""The methods that become models where nobody asks for others."""

ALIAS = "current"
FOLDER = "model"
FORMAT_TAG = "fdbpl.model"
"""Which form a version has; those without it are an earlier fdbpl's, and took features."""

Student = Callable[[], "ClipModel"]
"""Loads the student of a run when it is first asked for."""


def register_models(
    client: "MlflowClient", records: Records, runs: Mapping[str, "Run"], methods: Collection[str]
) -> list[str]:
    """Register one model per dataset and wanted method, and point its alias at this recording's.

    The rule of the alias: `current` is the first seed of `params.yaml` in the outputs recorded
    last, and where several protocols were run, of one that learned all classes. Choosing a seed by
    its accuracy on the test images would choose on them.

    The student is loaded, and its image tower written as a graph, where a version is not there
    yet, and then once.

    Returns:
        What could not become a model, and why.
    """
    notes = []
    student = cache(lambda: _load(records.params))
    for name, one in _first(records, methods).items():
        run = runs[one.key]
        made = _version(client, name, run)
        if made is None:
            try:
                made = _add(client, name, records, one, run, student)
            except UserError as error:
                notes.append(f"{name}: not registered. {error}")
                continue
        known = client.get_registered_model(name).aliases
        if str(known.get(ALIAS)) != str(made.version):
            client.set_registered_model_alias(name, ALIAS, made.version)
    return notes


def _first(records: Records, methods: Collection[str]) -> dict[str, SeedRecord]:
    """Return by the name of its model the record that each is made of."""
    first: dict[str, SeedRecord] = {}
    for one in sorted(records.seeds, key=lambda one: one.task.protocol is BASE_TO_NEW):
        if one.files and one.method in methods:
            first.setdefault(f"fdbpl-{one.dataset}-{one.method}", one)
    return first


def _load(params: "Params") -> "ClipModel":
    from fdbpl.clip.model import load_model  # torch, which recording what is known does without

    return load_model(params.student, "student")


def _version(client: "MlflowClient", name: str, run: "Run") -> "ModelVersion | None":
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run.info.run_id}'")
    return next((one for one in found if one.tags.get(FORMAT_TAG) == str(FORMAT)), None)


def _add(
    client: "MlflowClient",
    name: str,
    records: Records,
    one: SeedRecord,
    run: "Run",
    student: Student,
) -> "ModelVersion":
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / name
        _pack(records, one, name, student, place)
        save_as_mlflow(place, Path(folder) / FOLDER)
        client.log_artifacts(run.info.run_id, f"{folder}/{FOLDER}", FOLDER)
    if not client.search_registered_models(f"name = '{name}'"):
        about = (
            f"Tells what pictures of {one.dataset} show, by what {title_of(one.method)} learned. "
            "Takes image files as bytes or base64."
        )
        client.create_registered_model(name, description=about)
    tags = {
        "seed": str(one.seed),
        "setting": one.setting,
        "digest.prompts": one.digests["prompts"],
        FORMAT_TAG: str(FORMAT),
    }
    source = f"{run.info.artifact_uri}/{FOLDER}"
    return client.create_model_version(name, source=source, run_id=run.info.run_id, tags=tags)


def _pack(records: Records, one: SeedRecord, name: str, student: Student, place: Path) -> None:
    """Write the model folder of a record."""
    from fdbpl.serving.card import card_files  # these load torch
    from fdbpl.serving.from_run import made_of_run
    from fdbpl.serving.make import save_model

    params = records.params
    method = next(found for found in params.chosen_methods if found.name == one.method)
    made = made_of_run(params, records.work, one.task, method, one.seed, name, student)
    save_model(place, made, card_files(made.about))


def save_as_mlflow(model: Path, path: Path) -> None:
    """Write a model folder as MLflow's: with code, signature and an example, which it tries."""
    import mlflow.pyfunc

    # recorded, so not shown: warnings of type hints, which MLflow wants to limit what it takes
    with warnings.catch_warnings(record=True):
        mlflow.pyfunc.save_model(
            str(path),
            python_model=str(Path(__file__).with_name("classifier.py")),
            artifacts={"model": str(model)},
            model_config={"allow_paths": False},
            signature=_signature(),
            input_example=_example(),
            pip_requirements=[f"fdbpl=={fdbpl.__version__}"],
        )


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    # any type: bytes are what a program has, and text what JSON can carry
    image = Schema([ColSpec(AnyType(), "image")])  # type: ignore[no-untyped-call]
    return ModelSignature(inputs=image, params=ParamSchema([ParamSpec("keep", "long", KEEP)]))


def _example() -> Any:
    import pandas as pd
    from PIL import Image

    file = io.BytesIO()
    Image.linear_gradient("L").resize((32, 32)).convert("RGB").save(file, "PNG")
    return pd.DataFrame({"image": [base64.b64encode(file.getvalue()).decode()]})
