"""The image folder reader."""

import numpy as np
import pytest
from PIL import Image

from jdarts.data import DataConfig, load
from jdarts.errors import UserError

CLASSES = ("ant", "bee", "cat")


def picture(code, size=(9, 8), mode="RGB"):
    """An image, size (width, height), whose pixels tell which one it is."""
    value = code if mode == "L" else (code, 255 - code, 7)
    return Image.new(mode, size, value)


def write(root, count=5, first=0):
    """`count` images a class; image i of class c has the code first + 10 c + i."""
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i in range(count):
            picture(first + 10 * label + i).save(root / name / f"{i}.png")


def read(root, **config):
    return load(DataConfig(name="image_folder", dir=root, **config))


def error(root):
    with pytest.raises(UserError) as caught:
        read(root)
    return str(caught.value)


def codes(images):
    """The code of each image, after a check of all its pixels."""
    code = images[:, 0, 0, 0]
    expected = np.stack([code, 255 - code, np.full_like(code, 7)], axis=-1)
    np.testing.assert_array_equal(
        images, np.broadcast_to(expected[:, None, None], (len(images), 8, 9, 3))
    )
    return code


def test_with_parts(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "test", count=2, first=100)
    images = read(tmp_path)
    assert images.class_names == CLASSES
    train = codes(images.train_images)
    assert sorted(train) == [10 * c + i for c in range(3) for i in range(5)]
    np.testing.assert_array_equal(images.train_labels, train // 10)
    assert codes(images.test_images).tolist() == [100, 101, 110, 111, 120, 121]
    assert images.test_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert images.image_shape == (8, 9, 3)


def test_without_parts(tmp_path):
    write(tmp_path)
    images = read(tmp_path)
    assert len(images.train_images) == 15
    assert images.test_images.shape == (0, 8, 9, 3)


def test_training_part_without_test(tmp_path):
    write(tmp_path / "train")
    assert read(tmp_path).test_images.shape == (0, 8, 9, 3)


def test_order_is_mixed_and_fixed(tmp_path):
    write(tmp_path)
    first = codes(read(tmp_path).train_images)
    assert first.tolist() != sorted(first)
    assert len(set(first[:7] // 10)) > 1 and len(set(first[7:] // 10)) > 1
    np.testing.assert_array_equal(first, codes(read(tmp_path).train_images))


def test_limit_reads_no_more(tmp_path):
    write(tmp_path)
    every = codes(read(tmp_path).train_images)
    last = int(every[-1])
    (tmp_path / CLASSES[last // 10] / f"{last % 10}.png").write_bytes(b"")
    few = codes(read(tmp_path, limit=6).train_images)
    assert sorted(few // 10) == [0, 0, 1, 1, 2, 2]  # by class, the first ones of each
    for label in range(3):
        own = every[every // 10 == label]
        assert few[few // 10 == label].tolist() == own[:2].tolist()
    count = (
        max(
            every.tolist().index(own[0])
            for own in (every[every // 10 == label] for label in range(3))
        )
        + 1
    )
    ordered = read(tmp_path, limit=count, split="file_order")
    np.testing.assert_array_equal(codes(ordered.train_images), every[:count])
    with pytest.raises(UserError, match="training images have none of class"):
        read(tmp_path, limit=count - 1, split="file_order")
    with pytest.raises(
        UserError, match="--data.limit: 16 is more than the 15 training"
    ):
        write(tmp_path / "all")
        read(tmp_path / "all", limit=16)


def test_modes_become_rgb(tmp_path):
    folder = tmp_path / "ant"
    folder.mkdir()
    picture(5).save(folder / "rgb.png")
    picture(5).convert("RGBA").save(folder / "rgba.png")
    picture(5).convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "p.png")
    picture(5, mode="L").save(folder / "grey.png")
    pixels = {tuple(image[3, 3]) for image in read(tmp_path).train_images}
    assert pixels == {(5, 250, 7), (5, 5, 5)}


def test_jpeg_and_upper_case(tmp_path):
    (tmp_path / "ant").mkdir()
    picture(99).save(tmp_path / "ant" / "A.JPG", quality=100)
    image = read(tmp_path).train_images[0].astype(int)
    assert np.abs(image - (99, 156, 7)).max() <= 3  # JPEG is not exact


def test_other_files_are_ignored(tmp_path):
    write(tmp_path)
    (tmp_path / "ant" / "notes.txt").touch()
    (tmp_path / "ant" / "._0.png").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.md").touch()
    assert len(read(tmp_path).train_images) == 15


def test_odd_size(tmp_path):
    write(tmp_path)
    picture(1, size=(9, 7)).save(tmp_path / "cat" / "4.png")
    picture(1, size=(8, 8)).save(tmp_path / "bee" / "3.png")
    assert error(tmp_path) == (
        f"{tmp_path / 'bee' / '3.png'}: 8 x 8 pixels; expected 9 x 8 as "
        f"{tmp_path / 'ant' / '0.png'}"
    )


def test_odd_size_in_test_part(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "test")
    picture(1, size=(1, 1)).save(tmp_path / "test" / "bee" / "3.png")
    assert error(tmp_path) == (
        f"{tmp_path / 'test' / 'bee' / '3.png'}: 1 x 1 pixels; expected 9 x 8 as "
        f"{tmp_path / 'train' / 'ant' / '0.png'}"
    )


def test_unreadable(tmp_path):
    write(tmp_path)
    path = tmp_path / "bee" / "2.png"
    path.write_bytes(b"no image")
    assert error(tmp_path) == (
        f"{path}: not a readable image (cannot identify image file {str(path)!r})"
    )


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_cut_short(tmp_path, keep):
    write(tmp_path)
    path = tmp_path / "bee" / "2.png"
    noise = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    assert error(tmp_path).startswith(f"{path}: not a readable image (")


def test_deep_pixels(tmp_path):
    write(tmp_path)
    path = tmp_path / "bee" / "2.png"
    Image.fromarray(np.full((8, 9), 40_000, np.uint16)).save(path)
    assert error(tmp_path) == (
        f"{path}: an image of mode I;16; expected 8-bit grey or RGB"
    )


def test_class_without_images(tmp_path):
    write(tmp_path)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "a.txt").touch()
    assert error(tmp_path) == (
        f"{tmp_path / 'dog'}: has no images; expected files ending in .png, .jpg, "
        ".jpeg, .bmp, .webp, .ppm, .pgm"
    )


def test_unknown_test_class(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "test")
    (tmp_path / "test" / "dog").mkdir()
    assert error(tmp_path) == (
        f"{tmp_path / 'test' / 'dog'}: no such class in the training part; expected "
        "one of ant, bee, cat"
    )


def test_no_classes(tmp_path):
    assert error(tmp_path) == (
        f"{tmp_path}: has no folders; expected one folder of images a class"
    )


def test_test_part_alone(tmp_path):
    write(tmp_path / "test")
    assert error(tmp_path) == (
        f"{tmp_path / 'train'}: missing; expected it beside test"
    )


def test_file(tmp_path):
    path = tmp_path / "a.png"
    path.touch()
    assert error(path) == f"{path}: is a file; expected a folder of class folders"
