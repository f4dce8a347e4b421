"""CIFAR-10 and CIFAR-100 from the binary or the Python batches, as published."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jdarts.data.base import DataConfig, RawImages, shape_text
from jdarts.data.safe_pickle import load_pickle
from jdarts.errors import UserError

__all__ = ["CIFAR10", "CIFAR100", "CIFAR100_COARSE", "Cifar", "load"]

_PIXELS = 3 * 32 * 32


@dataclasses.dataclass(frozen=True)
class Cifar:
    """One of the two data sets.

    Attributes:
      binary_folder: name of the folder of binary batches.
      python_folder: name of the folder of pickled batches.
      train: names of the training batches; binary ones end in ``.bin``.
      test: name of the test batch.
      label_bytes: label bytes before the pixels of a binary record.
      label_at: which of these bytes is the label.
      label_key: of the labels in a pickled batch.
      class_names: in label order.
    """

    binary_folder: str
    python_folder: str
    train: tuple[str, ...]
    test: str
    label_bytes: int
    label_at: int
    label_key: str
    class_names: tuple[str, ...]


CIFAR10 = Cifar(
    binary_folder="cifar-10-batches-bin",
    python_folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test="test_batch",
    label_bytes=1,
    label_at=0,
    label_key="labels",
    class_names=tuple(
        "airplane automobile bird cat deer dog frog horse ship truck".split()
    ),
)

CIFAR100 = Cifar(
    binary_folder="cifar-100-binary",
    python_folder="cifar-100-python",
    train=("train",),
    test="test",
    label_bytes=2,  # coarse, fine
    label_at=1,
    label_key="fine_labels",
    class_names=tuple(
        """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy
        bridge bus butterfly camel can castle caterpillar cattle chair chimpanzee clock
        cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
        forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
        lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange
        orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
        possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
        snail snake spider squirrel streetcar sunflower sweet_pepper table tank
        telephone television tiger tractor train trout tulip turtle wardrobe whale
        willow_tree wolf woman worm""".split()
    ),
)

CIFAR100_COARSE = dataclasses.replace(
    CIFAR100,
    label_at=0,
    label_key="coarse_labels",
    class_names=tuple(
        """aquatic_mammals fish flowers food_containers fruit_and_vegetables
        household_electrical_devices household_furniture insects large_carnivores
        large_man-made_outdoor_things large_natural_outdoor_scenes
        large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people
        reptiles small_mammals trees vehicles_1 vehicles_2""".split()
    ),
)


def load(cifar: Cifar, config: DataConfig) -> RawImages:
    """Reads all batches; where both forms are present, the binary ones.

    Args:
      cifar: which of the two.
      config: ``dir`` is the folder of the batches or its parent.

    Raises:
      UserError: if there is no such folder, or a batch is missing, cut short or not of
        its form; it names the file.
    """
    assert config.dir is not None  # checked by jdarts.data.load
    folder, suffix = _find(cifar, config.dir)
    paths = [folder / f"{name}{suffix}" for name in (*cifar.train, cifar.test)]
    for path in paths:
        if not path.is_file():
            names = ", ".join(p.name for p in paths)
            raise UserError(f"{path}: missing; expected the batches {names}")
    read = _read_binary if suffix else _read_python
    *train, test = (read(cifar, path) for path in paths)
    most = max(len(labels) for _, labels in train)
    for path, (_, labels) in zip(paths, train, strict=False):
        if len(labels) < most:
            raise UserError(
                f"{path}: {len(labels)} images; expected {most} as in the other batches"
            )
    return RawImages(
        np.concatenate([images for images, _ in train]),
        np.concatenate([labels for _, labels in train]),
        *test,
        cifar.class_names,
    )


def _find(cifar: Cifar, root: Path) -> tuple[Path, str]:
    """The folder of the batches and the ending of their names."""
    forms = ((cifar.binary_folder, ".bin"), (cifar.python_folder, ""))
    for name, suffix in forms:
        if (root / name).is_dir():
            return root / name, suffix
    for name, suffix in forms:
        files = (root / f"{part}{suffix}" for part in (*cifar.train, cifar.test))
        if root.name == name or any(file.is_file() for file in files):
            return root, suffix
    if not root.is_dir():
        raise UserError(f"{root}: is a file; expected a folder of batches")
    found = sorted(path.name for path in root.iterdir())
    more = ", ..." if len(found) > 5 else ""
    raise UserError(
        f"{root}: found {', '.join(found[:5]) or 'an empty folder'}{more}; expected "
        f"the folder {cifar.binary_folder} or {cifar.python_folder}, or its batches"
    )


def _read_binary(cifar: Cifar, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, 32, 32, 3]`` and labels ``[N]`` of fixed-size records."""
    record = cifar.label_bytes + _PIXELS
    data = np.fromfile(path, np.uint8)
    if data.size == 0 or data.size % record:
        raise UserError(
            f"{path}: {data.size} bytes (cut short?); expected a positive multiple of "
            f"{record}, the bytes of one image and its labels"
        )
    records = data.reshape(-1, record)
    labels = records[:, cifar.label_at].astype(np.int32)
    return _checked(cifar, path, records[:, cifar.label_bytes :], labels)


def _read_python(cifar: Cifar, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, 32, 32, 3]`` and labels ``[N]`` of a pickled dictionary."""
    batch = load_pickle(path)
    if not isinstance(batch, Mapping):
        raise UserError(
            f"{path}: holds a {type(batch).__name__}; expected a dictionary with data "
            f"and {cifar.label_key}"
        )
    values = {}
    for key in ("data", cifar.label_key):
        values[key] = batch.get(key.encode(), batch.get(key))
        if values[key] is None:
            raise UserError(
                f"{path}: has no entry {key}; expected data and {cifar.label_key}"
            )
    data, labels = values["data"], values[cifar.label_key]
    if type(labels) is list and all(type(n) is int for n in labels):
        labels = np.asarray(labels)
    if not isinstance(labels, np.ndarray):  # a small file has lists without end
        raise UserError(
            f"{path}: {cifar.label_key} is a {type(labels).__name__} of other things "
            "than whole numbers; expected an array or a list of them"
        )
    if (
        not isinstance(data, np.ndarray)
        or data.dtype != np.uint8
        or data.ndim != 2
        or data.shape[1] != _PIXELS
        or len(data) == 0
    ):
        array = isinstance(data, np.ndarray)
        found = shape_text(data) if array else f"a {type(data).__name__}"
        raise UserError(
            f"{path}: data is {found}; expected uint8 [N, {_PIXELS}], N > 0"
        )
    if labels.shape != (len(data),) or labels.dtype.kind not in "iu":
        raise UserError(
            f"{path}: {cifar.label_key} is {shape_text(labels)}; "
            f"expected integers [{len(data)}]"
        )
    return _checked(cifar, path, data, labels)


def _checked(
    cifar: Cifar, path: Path, pixels: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels ``[N, 3072]``, colour plane by colour plane, as images; labels checked."""
    last = len(cifar.class_names) - 1
    wrong = np.flatnonzero((labels < 0) | (labels > last))
    if wrong.size:
        raise UserError(
            f"{path}: image {wrong[0]} has the label {labels[wrong[0]]}; "
            f"expected 0 to {last}"
        )
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels
