"""The reader of prepared TFDS folders, without TensorFlow and without network."""

import io
import json
import shutil
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jdarts import UserError
from jdarts.data import DataConfig, load

RNG = np.random.default_rng(0)
PIXELS = {part: RNG.integers(0, 256, (n, 6, 5, 3), np.uint8)
          for part, n in (("train", 7), ("test", 3))}  # fmt: skip
LABELS = {"train": [0, 1, 2, 1, 0, 2, 2], "test": [2, 0, 1]}


class JdartsPictures(tfds.core.GeneratorBasedBuilder):
    """A small data set that TFDS prepares itself."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(6, 5, 3)),
                "label": tfds.features.ClassLabel(names=["ant", "bee", "cat"]),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {part: self._generate_examples(part) for part in PIXELS}

    def _generate_examples(self, part):
        for i, (pixels, label) in enumerate(
            zip(PIXELS[part], LABELS[part], strict=True)
        ):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, format="png")
            yield i, {"image": file.getvalue(), "label": label}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    JdartsPictures(data_dir=root, file_format="array_record").download_and_prepare()
    return root


def describe(root, name="cifar10/3.0.2", splits=("train", "test"), **changes):
    """Writes the description that marks a folder as prepared."""
    folder = root / name
    folder.mkdir(parents=True)
    info = {"fileFormat": "array_record", "splits": [{"name": s} for s in splits]}
    (folder / "dataset_info.json").write_text(json.dumps(info | changes))
    (folder / "features.json").write_text("{}")
    return folder


def how(name, root):
    return (
        "expected data prepared once, where TensorFlow is installed, by: python -c "
        f"\"import tensorflow_datasets as tfds; tfds.builder('{name}', "
        f"data_dir='{root}', file_format='array_record').download_and_prepare()\""
    )


def read(root, name="tfds:cifar10", **config):
    return load(DataConfig(name=name, dir=root, **config))


def error(root, name="tfds:cifar10"):
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        read(root, name)
    assert time.monotonic() - start < 2  # it did not try the network
    return str(caught.value)


def test_prepared_files(prepared):
    images = read(prepared, "tfds:jdarts_pictures")
    order = {i.tobytes(): n for n, i in enumerate(PIXELS["train"])}
    found = [order[image.tobytes()] for image in images.train_images]
    assert sorted(found) == list(range(7))  # TFDS shuffles when it prepares
    assert images.train_labels.tolist() == [LABELS["train"][n] for n in found]
    assert images.test_images.shape == (3, 6, 5, 3)
    assert images.class_names == ("ant", "bee", "cat")
    np.testing.assert_allclose(images.mean, (PIXELS["train"] / 255).mean((0, 1, 2)))


def test_limit_and_version(prepared):
    every = read(prepared, "tfds:jdarts_pictures")
    name = "tfds:jdarts_pictures:1.0.0"
    few = read(prepared, name, limit=6, split="file_order")
    np.testing.assert_array_equal(few.train_images, every.train_images[:6])
    one = read(prepared, name, limit=3)  # of each class, its first
    firsts = sorted(every.train_labels.tolist().index(label) for label in range(3))
    np.testing.assert_array_equal(one.train_images, every.train_images[firsts])
    assert len(few.test_images) == 3


def test_mock_data(tmp_path):
    describe(tmp_path)
    with tfds.testing.mock_data(num_examples=5):
        images = read(tmp_path)
    assert images.train_images.shape == images.test_images.shape == (5, 32, 32, 3)
    assert images.class_names == tuple("0123456789")  # the mock knows no names


def test_without_test_part(tmp_path):
    describe(tmp_path, splits=("train",))
    with tfds.testing.mock_data(num_examples=2):
        assert read(tmp_path).test_images.shape == (0, 32, 32, 3)


LACKING = "no training image of 9 classes 1, 2, 3, 4, 5 and 4 more"


def examples(*shapes, dtype=np.uint8):
    def as_data_source(self, split, **kwargs):
        class Source(list):
            dataset_info = self.info

        return Source({"image": np.zeros(s, dtype), "label": 0} for s in shapes)

    return as_data_source


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            examples((4, 4, 3), (4, 5, 3)),
            "image 1 is uint8 [4, 5, 3]; expected uint8 [4, 4, 3] as image 0, "
            "or --data.resize HEIGHT WIDTH",
        ),
        (
            examples((4, 4, 3), dtype=np.float32),
            "image 0 is float32 [4, 4, 3]; expected uint8 [4, 4, 3] as image 0",
        ),
    ],
)
def test_images_that_differ(tmp_path, source, line):
    folder = describe(tmp_path)
    with tfds.testing.mock_data(as_data_source_fn=source):
        assert error(tmp_path).endswith(f"{folder}: part train: {line}")


def test_images_that_differ_are_resized(tmp_path):
    describe(tmp_path)
    source = examples((4, 4, 3), (40, 5, 3), (1, 2, 3))
    with tfds.testing.mock_data(as_data_source_fn=source):
        images = read(tmp_path, resize=(8, 12))
    assert images.train_images.shape == (3, 8, 12, 3)
    assert images.notes == (
        "scaled to cover 8 x 12, what stands over cropped on both sides alike",
        LACKING,
    )


def test_validation_part_and_others(tmp_path):
    describe(tmp_path, splits=("train", "test", "validation", "extra"))
    with tfds.testing.mock_data(as_data_source_fn=examples((8, 8, 3), (8, 8, 3))):
        images = read(tmp_path)
    assert images.valid_images.shape == images.test_images.shape == (2, 8, 8, 3)
    assert images.notes == ("left out, other parts: extra", LACKING)


def test_validation_part_alone(tmp_path):
    describe(tmp_path, splits=("train", "validation"))
    with tfds.testing.mock_data(as_data_source_fn=examples((8, 8, 3), (8, 8, 3))):
        images = read(tmp_path)
    assert images.valid_images.shape == (2, 8, 8, 3)
    assert images.test_images.shape == (0, 8, 8, 3)
    assert images.notes == (LACKING,)


def test_empty_part(tmp_path):
    folder = describe(tmp_path)
    with tfds.testing.mock_data(as_data_source_fn=examples()):
        line = f"{folder}: part train: has no images; expected at least one"
        assert error(tmp_path) == line


def test_not_labelled_images(tmp_path):
    folder = describe(tmp_path, "lm1b/1.1.0")
    with tfds.testing.mock_data():
        assert error(tmp_path, "tfds:lm1b") == (
            f"{folder}: part train: has text; expected image and label"
        )


@pytest.mark.parametrize("name", ["cifar10", "imagenet_resized/32x32", "no_such_set"])
def test_not_prepared(tmp_path, name):
    assert error(tmp_path, f"tfds:{name}") == (
        f"{tmp_path / name}: no prepared data found; {how(name, tmp_path)}"
    )


def test_other_version(tmp_path):
    describe(tmp_path)
    path = tmp_path / "cifar10" / "1.0.0" / "dataset_info.json"
    assert error(tmp_path, "tfds:cifar10:1.0.0") == (
        f"{path}: no prepared data found; {how('cifar10', tmp_path)}"
    )


def test_highest_version_is_taken(tmp_path):
    for version in ("9.0.0", "10.0.0", "2.9.9"):
        describe(tmp_path, f"cifar10/{version}", fileFormat=version)
    assert "/cifar10/10.0.0: holds 10.0.0 files" in error(tmp_path)


def test_tfrecord(tmp_path):
    folder = describe(tmp_path, fileFormat="tfrecord")
    assert error(tmp_path) == (
        f"{folder}: holds tfrecord files, expected array_record; "
        f"{how('cifar10', tmp_path)}"
    )


def test_no_training_part(tmp_path):
    folder = describe(tmp_path, splits=("a", "b"))
    assert error(tmp_path) == (
        f"{folder / 'dataset_info.json'}: has the parts a, b; expected train"
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"splits": [1]}'])
def test_bad_description(tmp_path, text):
    path = describe(tmp_path) / "dataset_info.json"
    path.write_text(text)
    assert error(tmp_path).startswith(f"{path}: not the description of a data set (")


def test_no_features(tmp_path):
    path = describe(tmp_path) / "features.json"
    path.unlink()
    assert error(tmp_path) == f"{path}: missing; {how('cifar10', tmp_path)}"


def test_bad_features(tmp_path):
    folder = describe(tmp_path)
    assert error(tmp_path).startswith(f"{folder}: part train: cannot be read (")


def test_missing_shard(prepared, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(prepared, root)
    for path in root.glob("**/*-test.array_record*"):
        path.unlink()
    folder = root / "jdarts_pictures" / "1.0.0"
    line = error(root, "tfds:jdarts_pictures")
    assert line.startswith(f"{folder}: part test: cannot be read (")


@pytest.mark.parametrize("name", ["tfds:", "tfds:a:b", "tfds:../a", "tfds:a/b/c"])
def test_bad_name(tmp_path, name):
    assert error(tmp_path, name) == (
        f"--data.name: '{name}'; expected tfds:NAME, tfds:NAME/CONFIG or "
        "tfds:NAME:VERSION"
    )
