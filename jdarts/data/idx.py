"""Images in MNIST's idx form: MNIST itself, Fashion-MNIST, KMNIST, EMNIST, ..."""

import gzip
import io
import math
import re
import zlib
from pathlib import Path

import numpy as np

from jdarts.data.base import DataConfig, RawImages, check_memory, some
from jdarts.errors import UserError
from jdarts.regular_file import open_regular

__all__ = ["FASHION", "load"]

FASHION = tuple(
    """T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag
    Ankle_boot""".split()
)
_FILE = re.compile(
    r"(?:.*[-_.])?(?P<part>train|t10k|test)[-_.](?P<what>images|labels)"
    r"[-_.]idx[13][-_.]ubyte(?:\.gz)?"
)


def load(names: tuple[str, ...], config: DataConfig) -> RawImages:
    """Reads ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and, if they are
    there, the two files ``t10k-...``; each may be packed (``.gz``). Of a file that is
    there packed and unpacked the latter is read.

    Args:
      names: of the classes; empty: the labels themselves, in order.
      config: ``dir`` is the folder of the files, or has it as ``raw`` or ``*/raw``, as
        torchvision does.

    Raises:
      UserError: if a file is missing, cut short, not of that form, or there twice.
    """
    root = config.dir
    assert root is not None  # checked by jdarts.data.load
    if not root.is_dir():
        raise UserError(f"{root}: is a file; expected a folder of idx files")
    root = _folder(root)
    files: dict[tuple[str, str], Path] = {}
    others = []
    for path in sorted(root.iterdir()):  # a packed file after its like
        match = _FILE.fullmatch(path.name)
        if match is None:
            others.append(path.name)
            continue
        key = match["part"].replace("t10k", "test"), match["what"]
        if key in files and path.name == f"{files[key].name}.gz":
            continue
        if key in files:
            raise UserError(
                f"{root}: has {files[key].name} and {path.name}; expected one"
            )
        files[key] = path
    x_train, y_train = _part(root, files, "train")
    x_test, y_test = x_train[:0], y_train[:0]
    if ("test", "images") in files or ("test", "labels") in files:
        x_test, y_test = _part(root, files, "test")
    values = np.unique(y_train)
    if names and not np.array_equal(values, np.arange(len(names))):
        raise UserError(
            f"{root}: has {len(values)} classes, expected the {len(names)} of "
            f"'{config.name}'"
        )
    unknown = np.setdiff1d(y_test, values)
    if unknown.size:
        raise UserError(
            f"{root}: the test part has the label {unknown[0]}; expected classes of "
            "the training part"
        )
    return RawImages(
        x_train,
        np.searchsorted(values, y_train),
        x_test,
        np.searchsorted(values, y_test),
        names or tuple(map(str, values.tolist())),
        notes=(f"left out, other files: {some(others)}",) if others else (),
    )


def _folder(root: Path) -> Path:
    """The folder of the files: `root`, or one in it that torchvision has made."""
    places = [root, root / "raw", *sorted(root.glob("*/raw"))]
    found = [
        place
        for place in places
        if place.is_dir() and any(_FILE.fullmatch(p.name) for p in place.iterdir())
    ]
    if len(found) > 1 and root not in found:
        raise UserError(
            f"{root}: has {some([str(p.relative_to(root)) for p in found])}; expected "
            "one folder of idx files"
        )
    return found[0] if found else root


def _part(
    root: Path, files: dict[tuple[str, str], Path], part: str
) -> tuple[np.ndarray, np.ndarray]:
    found = []
    for what, dimensions in (("images", 3), ("labels", 1)):
        if (part, what) not in files:
            start = "t10k" if part == "test" else part
            raise UserError(
                f"{root}: has no {start}-{what}-idx{dimensions}-ubyte, packed (.gz) or "
                "not; expected the files of MNIST"
            )
        found.append(_read(files[part, what], dimensions))
    images, labels = found
    if len(images) != len(labels):
        raise UserError(
            f"{files[part, 'labels']}: {len(labels)} labels; expected {len(images)}, "
            f"one for each image of {files[part, 'images'].name}"
        )
    return images[..., None], labels


def _read(path: Path, dimensions: int) -> np.ndarray:
    """The array of uint8 in a file."""
    try:
        with open_regular(path) as plain:
            if path.suffix != ".gz":
                return _array(plain, path, dimensions)
            with gzip.GzipFile(fileobj=plain) as packed:
                return _array(packed, path, dimensions)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path}: cannot be unpacked ({error}); expected a whole .gz file"
        ) from None


def _array(file: io.BufferedIOBase, path: Path, dimensions: int) -> np.ndarray:
    head = file.read(4 + 4 * dimensions)
    if len(head) < 4 + 4 * dimensions or head[:4] != bytes((0, 0, 8, dimensions)):
        raise UserError(
            f"{path}: begins with {head[:4].hex() or 'nothing'}; expected "
            f"0000080{dimensions}, bytes of {dimensions} dimensions in idx form"
        )
    shape = [int(n) for n in np.frombuffer(head[4:], ">u4")]
    check_memory(shape, str(path))
    data = file.read(math.prod(shape) + 1)
    if len(data) != math.prod(shape):
        found = "more" if len(data) > math.prod(shape) else f"{len(data)}"
        raise UserError(
            f"{path}: {found} bytes after its head; expected {math.prod(shape)}, as it "
            f"says {' x '.join(map(str, shape))}"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)
