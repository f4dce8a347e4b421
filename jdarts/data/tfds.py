"""Images that TensorFlow Datasets has prepared; TensorFlow itself is not needed."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdarts.data.base import DataConfig, RawImages, check_memory, some
from jdarts.data.pictures import resize_note, resized
from jdarts.data.split import kept
from jdarts.errors import UserError

__all__ = ["load"]

_NAME = re.compile(r"tfds:(?P<name>\w+(/[\w.-]+)?)(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class _Prepared(NamedTuple):
    """A prepared folder: its full TFDS name, where it is, and its parts."""

    name: str
    folder: Path
    splits: tuple[str, ...]


def load(config: DataConfig) -> RawImages:
    """Reads the parts train, validation and test; the latter two may be missing. Other
    parts are left out, which the notes say.

    That the data are prepared is checked on the files first: left to itself, TFDS goes
    online for a data set that it knows and does not find.

    Args:
      config: ``name`` is ``tfds:NAME[/CONFIG][:VERSION]``, ``dir`` the data_dir.
        Without a version the highest one there is read.

    Raises:
      UserError: if the data are not there, not in array_record files, or not labelled
        uint8 images of one size; it names the folder.
    """
    prepared = _find(config)
    splits = prepared.splits
    x_train, y_train, names = _read(config, prepared, "train", config.limit)
    x_test, y_test = x_train[:0], y_train[:0]
    if "test" in splits:
        x_test, y_test, _ = _read(config, prepared, "test", None)
    valid = None, None
    if "validation" in splits:
        x_valid, y_valid, _ = _read(config, prepared, "validation", None)
        valid = x_valid, y_valid
    notes = []
    if config.resize is not None:
        notes.append(resize_note(config.resize))
    others = sorted({*splits} - {"train", "test", "validation"})
    if others:
        notes.append(f"left out, other parts: {some(others)}")
    return RawImages(x_train, y_train, x_test, y_test, names, *valid, tuple(notes))


def _find(config: DataConfig) -> _Prepared:
    """The prepared folder that the configuration means."""
    match = _NAME.fullmatch(config.name)
    if match is None:
        raise UserError(
            f"--data.name: '{config.name}'; expected tfds:NAME, tfds:NAME/CONFIG or "
            "tfds:NAME:VERSION"
        )
    assert config.dir is not None  # checked by jdarts.data.load
    name = match["name"]
    how = _how_to_prepare(name, config.dir)
    version = match["version"] or _highest_version(config.dir / name)
    folder = config.dir / name / version
    path = folder / "dataset_info.json"
    if not version or not path.is_file():
        raise UserError(f"{path if version else folder}: no prepared data found; {how}")
    if not (folder / "features.json").is_file():  # without it TFDS would not stay here
        raise UserError(f"{folder / 'features.json'}: missing; {how}")
    file_format, splits = _description(path, how)
    if file_format != "array_record":
        raise UserError(
            f"{folder}: holds {file_format} files, expected array_record; {how}"
        )
    if "train" not in splits:
        raise UserError(f"{path}: has the parts {', '.join(splits)}; expected train")
    return _Prepared(f"{name}:{version}", folder, splits)


def _highest_version(folder: Path) -> str:
    """The name of the highest version's folder; empty if there is none."""
    found = folder.iterdir() if folder.is_dir() else ()
    versions = [path.name for path in found if _VERSION.fullmatch(path.name)]
    return max(versions, key=lambda v: [int(n) for n in v.split(".")], default="")


def _description(path: Path, how: str) -> tuple[str, tuple[str, ...]]:
    """File format and names of the parts, from a ``dataset_info.json``."""
    try:
        info = json.loads(path.read_text())
        splits = tuple(str(split["name"]) for split in info["splits"])
        return str(info.get("fileFormat", "tfrecord")), splits
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not the description of a data set ({type(error).__name__}: "
            f"{error}); {how}"
        ) from None


def _how_to_prepare(name: str, data_dir: Path) -> str:
    """The command that makes the files, for an error."""
    return (
        "expected data prepared once, where TensorFlow is installed, by: "
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}', data_dir='{data_dir}', "
        "file_format='array_record').download_and_prepare()\""
    )


def _read(
    config: DataConfig, prepared: _Prepared, split: str, limit: int | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images ``[N, H, W, C]``, labels ``[N]`` and class names of one part."""
    # Imported here: it takes half a second, which the other data sets need not wait.
    import tensorflow_datasets as tfds

    where = f"{prepared.folder}: part {split}"
    try:
        source: Any = tfds.data_source(
            prepared.name, split=split, data_dir=config.dir, download=False
        )
        names = _class_names(source.dataset_info.features, where)
        if not len(source):
            raise UserError(f"{where}: has no images; expected at least one")
        chosen = np.arange(len(source))
        if limit is not None and limit < len(source):
            assert config.split is not None  # settled by jdarts.data.load
            undecoded: Any = tfds.data_source(
                prepared.name,
                split=split,
                data_dir=config.dir,
                download=False,
                decoders={"image": tfds.decode.SkipDecoding()},
            )
            labels = np.array([example["label"] for example in undecoded])
            chosen = kept(labels, limit, config.split, names)
        return *_stack(source, chosen, where, config.resize), names
    except UserError:
        raise
    except Exception as error:  # TFDS and array_record share no base class for errors
        raise UserError(
            f"{where}: cannot be read ({type(error).__name__}: {error})"
        ) from error


def _class_names(features: Any, where: str) -> tuple[str, ...]:
    """The names of the classes, from the description of the label."""
    if "image" not in features or "label" not in features:
        raise UserError(f"{where}: has {', '.join(features)}; expected image and label")
    count = getattr(features["label"], "num_classes", None)
    if count is None:
        raise UserError(
            f"{where}: label is {features['label']!r}; expected a ClassLabel"
        )
    return tuple(features["label"].names or map(str, range(count)))


def _stack(
    source: Any,
    chosen: np.ndarray,
    where: str,
    size: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The chosen examples as two arrays, read one by one and brought to a size."""
    first = source[0]["image"]
    shape = first.shape if size is None else (*size, *first.shape[2:])
    check_memory((len(chosen), *shape), where)
    images = np.empty((len(chosen), *shape), np.uint8)
    labels = np.empty(len(chosen), np.int32)
    for position, i in enumerate(chosen.tolist()):
        example = source[i]
        image = example["image"]
        if size is not None and image.dtype == np.uint8 and image.ndim == 3:
            image = resized(image[None], size)[0]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape != shape:
            hint = ""
            if size is None and image.dtype == np.uint8:
                hint = ", or --data.resize HEIGHT WIDTH"
            raise UserError(
                f"{where}: image {i} is {image.dtype} {list(image.shape)}; expected "
                f"uint8 {list(shape)} as image 0{hint}"
            )
        images[position], labels[position] = image, example["label"]
    return images, labels
