"""From a dataset's name to the dataset."""

from pathlib import Path

from fdbpl.benchmarks.coop import LAYOUTS, read_coop
from fdbpl.benchmarks.dataset import Dataset
from fdbpl.benchmarks.folder import read_folder
from fdbpl.benchmarks.playground import datasets as playground
from fdbpl.errors import UserError
from fdbpl.params import DataParams


def open_dataset(name: str, data: DataParams) -> Dataset:
    """Open a dataset: one's own, one in CoOp's layout, or one of the drawn playground.

    Raises:
        UserError: no dataset has this name, or it is not on disk as its layout says, or it has
            fewer than two classes, or a class name twice.
    """
    root = Path(data.root)
    if name in data.own:
        own = data.own[name]
        dataset = read_folder(name, Path(own.folder), own.template)
    elif name in LAYOUTS:
        dataset = read_coop(name, root)
    elif name in playground.DATASETS + playground.SHIFTED:
        dataset = playground.materialise(name, root)
    else:
        raise UserError(
            f"dataset {name!r} is unknown. Wanted one of the playground "
            f"({', '.join(playground.DATASETS + playground.SHIFTED)}), one in CoOp's layout "
            f"({', '.join(LAYOUTS)}), or a name under data.own in params.yaml."
        )
    _check_names(dataset)
    return dataset


def _check_names(dataset: Dataset) -> None:
    names = dataset.class_names
    if len(names) < 2:
        raise UserError(
            f"dataset {dataset.name!r} has {len(names)} classes, wanted at least 2: {names}."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"dataset {dataset.name!r} has two classes named {twice[0]!r}, wanted names that "
            "differ. Rename one."
        )
