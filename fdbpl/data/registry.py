"""From a dataset's name to the dataset."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fdbpl.data.dataset import Dataset, Layout
from fdbpl.data.names import read_vocabulary
from fdbpl.data.params import DataParams, OwnDataset
from fdbpl.data.picks import Picks, read_picks
from fdbpl.data.readers import aircraft, coop, imagenet
from fdbpl.data.readers.coop import read_split
from fdbpl.data.readers.folder import read_folder
from fdbpl.data.readers.table import read_table
from fdbpl.data.readers.unlabelled import read_unlabelled
from fdbpl.playground import datasets as playground
from fdbpl.system.errors import UserError

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        **coop.LAYOUTS,
        **aircraft.LAYOUTS,
        **imagenet.LAYOUTS,
    }
)
"""The layouts of published datasets, by name: a line for each file of them."""

SHIFTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"imagenet": imagenet.SHIFTED, "objects": playground.SHIFTED}
)
"""The shifted versions of a dataset: test images only, of its classes or a part of them."""

KNOWN = (*playground.DATASETS, *playground.SHIFTED, *LAYOUTS)


def is_drawn(name: str, data: DataParams) -> bool:
    """Tell whether a name is the playground's: one's own folders and CoOp's layouts go first."""
    drawn = playground.DATASETS + playground.SHIFTED
    return name in drawn and name not in data.own and name not in LAYOUTS


def open_dataset(name: str, data: DataParams) -> Dataset:
    """Open a dataset: one's own, one in CoOp's layout, or one of the drawn playground.

    Raises:
        UserError: no dataset has this name, or it is not on disk as its layout says, or it has
            fewer than two classes.
    """
    root = Path(data.root)
    if name in data.own:
        dataset = _read_own(name, data.own[name], data)
    elif name in LAYOUTS:
        dataset = LAYOUTS[name].read(name, root)
    elif is_drawn(name, data):
        folder = playground.materialise(name, root, data.world)
        template = playground.definition(name).template
        dataset = read_split(name, folder, folder / playground.SPLIT_FILE, template)
    else:
        raise UserError(
            f"dataset {name!r} is unknown. Wanted one of the playground "
            f"({', '.join(playground.DATASETS + playground.SHIFTED)}), one in CoOp's layout "
            f"({', '.join(LAYOUTS)}), or a name under data.own in the parameters."
        )
    if len(dataset.class_names) < 2:
        found = f"one class, {dataset.class_names[0]!r}" if dataset.class_names else "no class"
        raise UserError(f"dataset {name!r} in {dataset.folder} has {found}, wanted at least 2.")
    return dataset


def given_picks(dataset: Dataset, data: DataParams) -> Picks | None:
    """Return the picks that `data.picks` brings in for a dataset, None where shots are drawn.

    Raises:
        UserError: see `read_picks`.
    """
    table = data.picks.get(dataset.name)
    return None if table is None else read_picks(Path(table), dataset)


def _read_own(name: str, own: OwnDataset, data: DataParams) -> Dataset:
    if own.folder is not None:
        return read_folder(name, Path(own.folder), own.template)
    if own.table is not None:
        return read_table(name, Path(own.table), own.template)
    return read_unlabelled(
        name,
        Path(str(own.images)),  # OwnDataset sees to it
        None if own.names is None else Path(own.names),
        own.template,
        None if own.test is None else Path(own.test),
        read_vocabulary(data.vocabulary) if data.vocabulary and own.names is None else (),
    )
