"""Image data: one file a data set, one row in DATASETS; splits, batches, augmentation.
Texts: see `jdarts.data.text`.

A new data set is a ``load(config) -> RawImages`` in its own file and its row here.
"""

import dataclasses
from functools import partial

import numpy as np
from jaxtyping import Int32

from jdarts.data import (
    cifar,
    csv_file,
    digits,
    idx,
    image_folder,
    npz,
    parquet,
    svhn,
    tfds,
)
from jdarts.data.augment import AugmentSpec, augment, augment_spec, normalise
from jdarts.data.base import (
    DataConfig,
    Dataset,
    Images,
    RawImages,
    channel_statistics,
    check_memory,
    limit_note,
    shape_text,
    some,
)
from jdarts.data.batches import (
    batch_at,
    epoch_permutation,
    random_batch,
    steps_per_epoch,
)
from jdarts.data.ngrams import Baselines, baselines
from jdarts.data.pictures import resize_note, resized
from jdarts.data.segments import Lengths, Segment, columns, segment_at
from jdarts.data.split import FILE_ORDER, kept, train_valid_split
from jdarts.data.text import TEXTS, Text, TextConfig, load_text
from jdarts.errors import UserError, unknown_choice
from jdarts.phase import phased

__all__ = [
    "DATASETS",
    "TEXTS",
    "AugmentSpec",
    "Baselines",
    "DataConfig",
    "Dataset",
    "Images",
    "Lengths",
    "RawImages",
    "Segment",
    "Text",
    "TextConfig",
    "augment",
    "augment_spec",
    "baselines",
    "batch_at",
    "columns",
    "epoch_permutation",
    "get_dataset",
    "halves",
    "load",
    "load_text",
    "normalise",
    "random_batch",
    "segment_at",
    "steps_per_epoch",
    "train_valid_split",
]

_CIFAR100 = Dataset(
    load=partial(cifar.load, cifar.CIFAR100),
    description="60,000 photographs, 32 x 32 RGB, 100 classes",
    dir="the folder cifar-100-binary or cifar-100-python, or its parent",
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
    split=FILE_ORDER,
)

DATASETS: dict[str, Dataset] = {
    "digits": Dataset(
        load=digits.load,
        description="1797 handwritten digits, 8 x 8 grey, 10 classes (scikit-learn)",
    ),
    "cifar10": Dataset(
        load=partial(cifar.load, cifar.CIFAR10),
        description="60,000 photographs, 32 x 32 RGB, 10 classes",
        dir="the folder cifar-10-batches-bin or cifar-10-batches-py, or its parent",
        mean=(0.49139968, 0.48215827, 0.44653124),
        std=(0.24703233, 0.24348505, 0.26158768),
        split=FILE_ORDER,
    ),
    "cifar100": _CIFAR100,
    "cifar100_coarse": dataclasses.replace(
        _CIFAR100,
        load=partial(cifar.load, cifar.CIFAR100_COARSE),
        description="the photographs of cifar100 in its 20 coarse classes",
    ),
    "idx": Dataset(
        load=partial(idx.load, ()),
        description="MNIST, and others in its form (KMNIST, EMNIST, ...)",
        dir="a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and, if "
        "there are any, the files t10k-..., packed (.gz) or not; or torchvision's",
    ),
    "fashion_mnist": Dataset(
        load=partial(idx.load, idx.FASHION),
        description="70,000 pieces of clothing, 28 x 28 grey, 10 classes",
        dir="a folder with the four files of MNIST's form, packed (.gz) or not",
    ),
    "svhn": Dataset(
        load=svhn.load,
        description="99,289 house numbers, 32 x 32 RGB, 10 classes",
        dir="a folder with train_32x32.mat and, if it is there, test_32x32.mat",
    ),
    "csv": Dataset(
        load=csv_file.load,
        description="image files that a table lists",
        dir="a CSV file with the columns path (relative to its folder), label and, if "
        "there are parts, split (train, valid, test)",
        from_files=True,
        own=True,
    ),
    "parquet": Dataset(
        load=parquet.load,
        description="tables of images as Hugging Face writes them (extra "
        "jdarts[parquet])",
        dir="a .parquet file, or a folder with train-*.parquet and, if there are any, "
        "validation-*.parquet and test-*.parquet",
        from_files=True,
        own=True,
    ),
    "image_folder": Dataset(
        load=image_folder.load,
        description="image files, one folder a class",
        dir="a folder with train/CLASS/IMAGE and, if there are any, val/CLASS/IMAGE "
        "and test/CLASS/IMAGE; or CLASS/IMAGE",
        from_files=True,
        own=True,
    ),
    "npz": Dataset(
        load=npz.load,
        description="arrays in one NumPy file",
        dir="a .npz file with train_images, train_labels and, if there are any, "
        "valid_images, valid_labels, test_images, test_labels",
        own=True,
    ),
    "tfds:NAME": Dataset(
        load=tfds.load,
        description="a TensorFlow Datasets image set prepared as array_record",
        dir="the TFDS data_dir that holds NAME/VERSION",
    ),
}


def get_dataset(name: str) -> Dataset:
    """The row for ``--data.name``; every ``tfds:...`` has the same one.

    Raises:
      UserError: if there is none; it names the nearest one.
    """
    key = "tfds:NAME" if name.startswith("tfds:") else name
    if key not in DATASETS:
        raise unknown_choice("--data.name", name, DATASETS)
    return DATASETS[key]


@phased("reading the data")
def load(config: DataConfig, trains: bool = True) -> Images:
    """Reads the configured data set and checks it.

    Args:
      config: the configuration.
      trains: whether the training part is needed; without, it may be smaller than
        ``config.limit``, and missing where there is a test part.

    Returns:
      The images and labels, the training part cut to ``config.limit``.

    Raises:
      UserError: if the name is unknown, the files are missing or wrong, or the data are
        not as the configuration says; it names the file or the field.
    """
    dataset = get_dataset(config.name)
    config = dataclasses.replace(config, split=config.split or dataset.split)
    try:
        _check_dir(config, dataset)
        raw = dataset.load(config)
    except OSError as error:
        where = error.filename or config.dir
        raise UserError(
            f"{where}: cannot be read ({error.strerror or error})"
        ) from None
    where = str(config.dir or config.name)
    _check(raw, where, trains)
    if config.resize is not None and not dataset.from_files:
        raw = _resized(raw, config.resize, where)
    _check_fits(raw, config, trains)
    images, labels, notes = raw.train_images, raw.train_labels, raw.all_notes
    if config.limit is not None and config.limit < len(images):
        assert config.split is not None  # settled above
        chosen = kept(labels, config.limit, config.split, raw.class_names)
        # Copies, so that the images that are not used can be freed.
        notes = (limit_note(config.limit, len(images)), *notes)
        images, labels = images[chosen], labels[chosen]
    counted = images if len(images) else raw.test_images
    computed = channel_statistics(counted) if not dataset.mean else ((), ())
    valid_images, valid_labels = raw.parts["valid"]
    return Images(
        name=config.name,
        source=where,
        train_images=images,
        train_labels=labels.astype(np.int32),
        valid_images=valid_images,
        valid_labels=valid_labels.astype(np.int32),
        test_images=raw.test_images,
        test_labels=raw.test_labels.astype(np.int32),
        class_names=raw.class_names,
        mean=dataset.mean or computed[0],
        std=dataset.std or computed[1],
        notes=notes,
    )


def halves(
    config: DataConfig, images: Images, seed: int
) -> tuple[Int32[np.ndarray, " train"], Int32[np.ndarray, " valid"]]:
    """Indices of the images that train the weights, and of those that train the
    architecture, or that a training with ``--evaluate-on valid`` is judged by.

    The latter are the validation part, if there is one; otherwise a share of the
    training part.

    Args:
      config: how they are divided.
      images: what `load` made of it.
      seed: of the run.

    Returns:
      Two disjoint index arrays into `Images.train_and_valid`.

    Raises:
      UserError: as `train_valid_split`; or if there is a validation part and it lacks
        a class of the training part, or the configuration asks for a share.
    """
    if images.has_valid:
        _check_valid(config, images)
        count = len(images.train_labels)
        train = np.arange(count, dtype=np.int32)
        valid = np.arange(len(images.valid_labels), dtype=np.int32) + count
        return train, _mixed(valid)
    split = config.split or get_dataset(config.name).split
    train, valid = train_valid_split(
        images.train_labels, config.valid_fraction, split, seed, images.class_names
    )
    held = images.train_labels[valid]
    in_order = np.count_nonzero(np.diff(held)) == len(np.unique(held)) - 1
    return train, _mixed(valid) if in_order and split != FILE_ORDER else valid


def _mixed(valid: np.ndarray) -> np.ndarray:
    """In random order, always the same: supernets are judged with the statistics of
    each batch, which have to be of all classes."""
    return np.random.default_rng(0).permutation(valid)


def _check_valid(config: DataConfig, images: Images) -> None:
    if config.valid_fraction != DataConfig.valid_fraction:
        raise UserError(
            f"--data.valid-fraction: {config.valid_fraction} has no effect, as "
            f"{images.source} has a validation part of {len(images.valid_labels)} "
            f"images; expected the default, {DataConfig.valid_fraction}, or data "
            "without that part"
        )
    if config.split is not None and config.limit is None:
        raise UserError(
            f"--data.split: {config.split} has no effect, as {images.source} has a "
            f"validation part of {len(images.valid_labels)} images and there is no "
            "--data.limit; expected no --data.split, or data without that part"
        )
    lacking = np.setdiff1d(images.train_labels, images.valid_labels)
    if lacking.size:
        raise UserError(
            f"{images.source}: the validation part lacks the classes "
            f"{some([images.class_names[label] for label in lacking])}; expected each "
            "class of the training part"
        )


def _check_dir(config: DataConfig, dataset: Dataset) -> None:
    """Raises unless ``config.dir`` is given exactly if needed, and exists."""
    if not dataset.dir and config.dir is not None:
        raise UserError(
            f"--data.dir: {config.dir} would not be read; data set '{config.name}' "
            "needs no files; expected another --data.name or no --data.dir"
        )
    if dataset.dir and config.dir is None:
        raise UserError(
            f"--data.dir: not given; data set '{config.name}' expects {dataset.dir}"
        )
    if config.dir is not None and not config.dir.exists():
        raise UserError(
            f"{config.dir}: no such file or folder (--data.dir); expected {dataset.dir}"
        )
    if config.skip_damaged and not dataset.from_files:
        raise UserError(
            f"--data.skip-damaged: has no effect on data set '{config.name}', which is "
            "not read image by image; expected it with "
            f"{', '.join(name for name, row in DATASETS.items() if row.from_files)}"
        )


def _check(raw: RawImages, where: str, trains: bool) -> None:
    """Raises unless the arrays are what RawImages says, with at least one image."""
    if len(raw.train_images) == 0 and (trains or len(raw.test_images) == 0):
        others, notes = len(raw.test_images), "; ".join(raw.notes)
        found = f"no training images but {others:,} to test" if others else "no images"
        raise UserError(
            f"{where}: has {found}{f' ({notes})' if notes else ''}; expected some to "
            f"{'train' if trains else 'test'}"
        )
    if len(raw.class_names) == 1:
        raise UserError(
            f"{where}: has one class ({raw.class_names[0]!r}); expected two or more"
        )
    for name, (images, labels) in raw.parts.items():
        part = {"train": "training", "valid": "validation"}.get(name, name)
        if (
            images.dtype != np.uint8
            or images.ndim != 4
            or images.shape[1:] != raw.train_images.shape[1:]
            or 0 in images.shape[1:]
            or images.shape[3] > 4
        ):
            raise UserError(
                f"{where}: the {part} images are {shape_text(images)}; expected uint8 "
                "[N, H, W, C] with 1 to 4 channels, the same H, W, C in all parts"
            )
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
            raise UserError(
                f"{where}: the {part} labels are {shape_text(labels)}; expected "
                f"integers [{len(images)}]"
            )
        last = len(raw.class_names) - 1
        if labels.size and (labels.min() < 0 or labels.max() > last):
            raise UserError(
                f"{where}: the {part} labels go from {labels.min()} to {labels.max()}; "
                f"expected 0 to {last}"
            )


def _resized(raw: RawImages, size: tuple[int, int], where: str) -> RawImages:
    """All parts brought to a height and width."""
    height, width, channels = raw.train_images.shape[1:]
    if (height, width) == size:
        return raw
    count = sum(len(images) for images, _ in raw.parts.values())
    check_memory((count, *size, channels), f"{where}: {count} images")
    found = {part: resized(images, size) for part, (images, _) in raw.parts.items()}
    return raw._replace(
        train_images=found["train"],
        valid_images=found["valid"] if raw.valid_images is not None else None,
        test_images=found["test"],
        notes=(f"from {height} x {width} {resize_note(size)}", *raw.notes),
    )


def _check_fits(raw: RawImages, config: DataConfig, trains: bool) -> None:
    """Raises unless the data have what the configuration asks for."""
    where, found = config.dir or config.name, len(raw.class_names)
    if config.classes is not None and found != config.classes:
        relation = "fewer" if found < config.classes else "more"
        raise UserError(
            f"--data.classes: {where} has {found} classes, expected {config.classes} "
            f"({relation} classes than configured)"
        )
    if trains and config.limit is not None and config.limit > len(raw.train_images):
        raise UserError(
            f"--data.limit: {config.limit} is more than the {len(raw.train_images)} "
            f"training images of {where}; expected at most as many"
        )
    height, width = raw.train_images.shape[1:3]
    for flag, value in (
        ("crop-padding", config.crop_padding),
        ("cutout", config.cutout),
    ):
        if value >= min(height, width):
            raise UserError(
                f"--data.{flag}: {value} pixels for images of {height} x {width}; "
                f"expected less than {min(height, width)}"
            )
