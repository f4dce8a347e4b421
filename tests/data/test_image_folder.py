"""The image folder reader."""

import contextlib
import os
import socket
import zlib

import numpy as np
import pytest
from PIL import Image

from jdarts import UserError
from jdarts.data import DataConfig, base, image_files, load, pictures

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
    settings = {"crop_padding": 0, **config}
    return load(DataConfig(name="image_folder", dir=root, **settings))


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


def other_class(root, size=(9, 8)):
    """A second class, of one RGB image."""
    (root / "bee").mkdir(exist_ok=True)
    picture(5, size).save(root / "bee" / "z.png")


def test_modes_become_rgb(tmp_path):
    folder = tmp_path / "ant"
    folder.mkdir()
    other_class(tmp_path)
    picture(5).save(folder / "rgb.png")
    picture(5).convert("RGBA").save(folder / "rgba.png")
    picture(5).convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "p.png")
    picture(5, mode="L").save(folder / "grey.png")
    pixels = {tuple(image[3, 3]) for image in read(tmp_path).train_images}
    assert pixels == {(5, 250, 7), (5, 5, 5)}


def test_jpeg_and_upper_case(tmp_path):
    (tmp_path / "ant").mkdir()
    picture(99).save(tmp_path / "ant" / "A.JPG", quality=100)
    other_class(tmp_path)
    images = read(tmp_path)
    image = images.train_images[images.train_labels == 0][0].astype(int)
    assert np.abs(image - (99, 156, 7)).max() <= 3  # JPEG is not exact


def test_other_files_are_left_out_and_named(tmp_path):
    write(tmp_path)
    (tmp_path / "ant" / "notes.txt").write_text("no image")
    (tmp_path / "ant" / "._0.png").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "README.md").touch()
    images = read(tmp_path)
    assert len(images.train_images) == 15
    assert images.notes == (
        "left out, files that are no images: 1 (ant/notes.txt)",
        "left out, hidden: 3 (.cache, __MACOSX, ant/._0.png)",
        "left out, outside of the folders of classes: 1 (README.md)",
    )
    assert images.described == (
        f"data 'image_folder' of {tmp_path}: 15 training images of 8 x 9 x 3, 3 "
        f"classes (ant, bee, cat); {'; '.join(images.notes)}"
    )


def test_odd_size(tmp_path):
    write(tmp_path)
    picture(1, size=(9, 7)).save(tmp_path / "cat" / "4.png")
    picture(1, size=(8, 8)).save(tmp_path / "bee" / "3.png")
    assert error(tmp_path) == (
        f"{tmp_path / 'bee' / '3.png'}: 8 x 8 pixels; expected 9 x 8 as "
        f"{tmp_path / 'ant' / '0.png'}, or --data.resize HEIGHT WIDTH, which brings "
        "all images to one size"
    )


def test_odd_size_in_test_part(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "test")
    picture(1, size=(1, 1)).save(tmp_path / "test" / "bee" / "3.png")
    assert error(tmp_path) == (
        f"{tmp_path / 'test' / 'bee' / '3.png'}: 1 x 1 pixels; expected 9 x 8 as "
        f"{tmp_path / 'train' / 'ant' / '0.png'}, or --data.resize HEIGHT WIDTH, which "
        "brings all images to one size"
    )


def test_unreadable(tmp_path):
    write(tmp_path)
    path = tmp_path / "bee" / "2.png"
    path.write_bytes(b"no image")
    assert error(tmp_path) == (
        f"1 image cannot be read: {path} (is of no form that is known); expected whole "
        "images, or --data.skip-damaged to go on without them"
    )


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_cut_short(tmp_path, keep):
    write(tmp_path)
    path = tmp_path / "bee" / "2.png"
    noise = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    assert error(tmp_path).startswith(f"1 image cannot be read: {path} (")


def test_class_without_images(tmp_path):
    write(tmp_path)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "a.txt").touch()
    assert error(tmp_path) == (
        f"{tmp_path / 'dog'}: has no images; expected at least one file that Pillow "
        "reads (PNG, JPEG, TIFF, ...)"
    )


def test_unknown_test_class(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "test")
    (tmp_path / "test" / "dog").mkdir()
    assert error(tmp_path) == (
        f"{tmp_path / 'test' / 'dog'}: no such class in train; expected one of ant, "
        "bee, cat"
    )


def test_no_classes(tmp_path):
    assert error(tmp_path) == (
        f"{tmp_path}: has no folders; expected one folder of images a class"
    )


def test_validation_part_alone(tmp_path):
    write(tmp_path / "val")
    assert error(tmp_path) == (f"{tmp_path / 'train'}: missing; expected it beside val")


def test_file(tmp_path):
    path = tmp_path / "a.png"
    path.touch()
    assert error(path) == f"{path}: is a file; expected a folder of class folders"


# --- all that Pillow reads ---


def written(tmp_path, name, image, **options):
    """The pixels of one image that is saved as it is."""
    folder = tmp_path / "ant"
    folder.mkdir(exist_ok=True)
    image.save(folder / name, **options)
    other_class(tmp_path, image.size)
    images = read(tmp_path)
    return images.train_images[images.train_labels == 0][0], images.notes


@pytest.mark.parametrize(
    "ending", "png tif tiff bmp gif webp ppm tga jp2 ico dds pcx qoi sgi".split()
)
def test_forms_without_loss(tmp_path, ending):
    image = picture(60, size=(16, 16))
    options = {"lossless": True} if ending == "webp" else {}
    pixels, _ = written(tmp_path, f"a.{ending}", image, **options)
    np.testing.assert_array_equal(pixels, np.asarray(image))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "HSV"])
def test_modes(tmp_path, mode):
    """Each becomes what Pillow's own conversion makes of it, and is counted."""
    grey = Image.new("L", (8, 8), 255).convert("RGB")
    image = picture(60, size=(8, 8)) if mode in ("RGBA", "CMYK", "HSV") else grey
    form = "tif" if mode in ("PA", "CMYK", "HSV") else "png"
    if mode in ("HSV", "PA"):  # no file has it
        image.save(tmp_path / "x.png")
        with Image.open(tmp_path / "x.png") as opened:
            converted = (
                opened.convert("RGBA").convert(mode)
                if mode == "PA"
                else (opened.convert(mode))
            )
        (tmp_path / "x.png").unlink()
        pixels = np.asarray(pictures._rgb(converted))
    else:
        pixels, notes = written(tmp_path, f"a.{form}", image.convert(mode))
        assert notes == (f"made RGB: 1 {mode}",)
    assert np.abs(pixels.astype(int) - np.asarray(image)).max() <= 1


def test_lab(tmp_path):
    pixels, notes = written(
        tmp_path, "a.tif", Image.new("LAB", (8, 8), (255, 128, 128))
    )
    assert pixels.min() > 250 and notes == ("made RGB: 1 LAB",)


def test_16_bits_are_scaled(tmp_path):
    values = np.array([[0, 257, 514], [40_000, 65_278, 65_535]], np.uint16)
    pixels, notes = written(tmp_path, "a.png", Image.fromarray(values))
    expected = np.array([[0, 1, 2], [156, 254, 255]])
    np.testing.assert_array_equal(pixels, np.stack([expected] * 3, axis=-1))
    assert notes == (
        "made RGB: 1 I;16",
        "values 0 to 65535 of 1 images of more than 8 bits made 0 to 255",
    )


@pytest.mark.parametrize("form", [np.float32, np.int32, np.uint16])
@pytest.mark.parametrize(
    ("most", "white"),
    [(1, 1), (2, 255), (255, 255), (256, 1023), (1023, 1023), (4000, 4095)]
    + [(4095, 4095), (9000, 16383), (16384, 65535), (65535, 65535), (70000, 70000)],
)
def test_deep_images_are_scaled_by_one_factor(tmp_path, form, most, white):
    """By the least usual white that covers all of them, whatever their type."""
    if form is np.uint16 and most > 65535:
        most = white = 65535
    (tmp_path / "ant").mkdir()
    for name, value in (("a", most), ("b", most // 4)):
        image = Image.fromarray(np.full((4, 4), value).astype(form))
        image.save(tmp_path / "ant" / f"{name}.tif")
    other_class(tmp_path, (4, 4))
    images = read(tmp_path)
    own = images.train_images[images.train_labels == 0]
    found = sorted(image[0, 0, 0] for image in own)
    assert found == [np.rint(255 * v / white) for v in (most // 4, most)]
    what = "images of more than 8 bits made 0 to 255"
    assert images.notes[1] == f"values 0 to {white} of 2 {what}"


def test_deep_images_keep_their_scale_when_resized(tmp_path):
    values = np.zeros((16, 16), np.uint16)
    values[:, 8:] = 4095  # an edge, beyond which bicubic filters overshoot
    (tmp_path / "ant").mkdir()
    Image.fromarray(values).save(tmp_path / "ant" / "a.png")
    other_class(tmp_path)
    images = read(tmp_path, resize=(24, 24))
    assert images.train_images[images.train_labels == 0].max() == 255
    assert "values 0 to 4095 of 1 images of more than 8 bits" in "".join(images.notes)


def test_exif_orientation(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # has to be turned clockwise to be upright
    found, notes = written(tmp_path, "a.png", image, exif=exif)
    np.testing.assert_array_equal(found, np.rot90(pixels, -1))
    assert notes == (f"turned by EXIF orientation: {tmp_path / 'ant' / 'a.png'}",)


def test_first_frame_of_several(tmp_path):
    first, second = picture(10, size=(8, 8)), picture(200, size=(8, 8))
    found, notes = written(
        tmp_path, "a.tif", first, save_all=True, append_images=[second]
    )
    np.testing.assert_array_equal(found, np.asarray(first))
    assert notes == (f"first frame of several taken: {tmp_path / 'ant' / 'a.tif'}",)


def test_images_without_an_ending(tmp_path):
    write(tmp_path)
    (tmp_path / "ant" / "0.png").rename(tmp_path / "ant" / "0")
    (tmp_path / "ant" / "1.png").rename(tmp_path / "ant" / "1.of_mine")
    images = read(tmp_path)
    assert len(images.train_images) == 15 and images.notes == ()


# --- folders ---


def test_any_visible_folder_is_a_class(tmp_path):
    write(tmp_path)
    (tmp_path / "bee").rename(tmp_path / "_background_")
    assert read(tmp_path).class_names == ("_background_", "ant", "cat")


def test_folders_within_a_class(tmp_path):
    write(tmp_path)
    deep = tmp_path / "ant" / "more" / "x.png"
    deep.mkdir(parents=True)
    picture(99).save(deep / "9.png")
    (deep / "back").symlink_to(tmp_path / "ant")
    images = read(tmp_path)
    assert len(images.train_images) == 16
    assert images.notes == ("left out, folders met before: 1 (ant/more/x.png/back)",)


@pytest.mark.parametrize(
    "name", ["val", "valid", "validation", "Val", "dev", "validation_set"]
)
def test_validation_part(tmp_path, name):
    write(tmp_path / "train")
    write(tmp_path / name, count=2, first=100)
    (tmp_path / "extra").mkdir()
    images = read(tmp_path)
    assert codes(images.valid_images).tolist() == [100, 101, 110, 111, 120, 121]
    assert images.valid_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(images.test_images) == 0
    assert images.notes == ("left out, outside of the folders of classes: 1 (extra)",)
    assert "15 training and 6 validation images" in images.described


def test_two_validation_parts(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "val")
    write(tmp_path / "valid")
    assert error(tmp_path) == (
        f"{tmp_path}: has val and valid; expected one folder for the part valid"
    )


def test_a_class_called_train(tmp_path):
    write(tmp_path)
    (tmp_path / "bee").rename(tmp_path / "train")
    assert read(tmp_path).class_names == ("ant", "cat", "train")


@pytest.mark.parametrize(
    ("train", "test"), [("training_set", "test_set"), ("Train", "Testing")]
)
@pytest.mark.parametrize(
    ("above", "below", "note"),
    [
        ("", False, ()),
        ("flowers", False, ("flowers of {root} is read",)),
        ("a/flowers", False, ("a/flowers of {root} is read",)),
        ("", True, ("{train} of {train} is read", "{test} of {test} is read")),
    ],
)
def test_folders_of_parts_are_found(tmp_path, train, test, above, below, note):
    """As archives have them: the parts one folder down, or each part twice."""
    for part, first in ((train, 0), (test, 100)):
        write(tmp_path / above / part / (part if below else ""), 2, first)
    images = read(tmp_path)
    assert images.class_names == CLASSES
    assert len(images.train_images) == len(images.test_images) == 6
    words = {"root": tmp_path.name, "train": train, "test": test}
    assert images.notes == tuple(line.format(**words) for line in note)


@pytest.mark.parametrize("part", ["", "train"])
def test_a_folder_too_high(tmp_path, part):
    write(tmp_path / part / "flowers")
    assert error(tmp_path) == (
        f"{tmp_path / part}: has one class ('flowers'); expected two or more; the "
        "class folders may be in flowers"
    )


# --- sizes ---


def test_resize_of_mixed_sizes(tmp_path):
    """Scaled to cover; what stands over is cropped on both sides alike."""
    (tmp_path / "ant").mkdir()
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200  # the middle
    Image.fromarray(wide).save(tmp_path / "ant" / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "ant" / "tall.png")
    (tmp_path / "bee").mkdir()
    Image.new("RGB", (3, 3), (200,) * 3).save(tmp_path / "bee" / "tiny.png")
    images = read(tmp_path, resize=(8, 8))
    np.testing.assert_array_equal(images.train_images, np.full((3, 8, 8, 3), 200))
    assert images.notes == (
        "scaled to cover 8 x 8, what stands over cropped on both sides alike",
    )


def test_resize_of_other_data_sets():
    small = load(DataConfig(resize=(4, 12), crop_padding=0))
    assert small.train_images.shape == (1437, 4, 12, 1)
    assert small.test_images.shape == (360, 4, 12, 1)
    assert small.notes == (
        "from 8 x 8 scaled to cover 4 x 12, what stands over cropped on both sides "
        "alike",
    )
    whole = load(DataConfig())
    same = load(DataConfig(resize=(8, 8)))
    np.testing.assert_array_equal(same.train_images, whole.train_images)
    assert same.digest == whole.digest != small.digest


# --- damaged images ---


def damage(root, count):
    """Cuts the first images of the middle class; their names."""
    paths = [root / "bee" / f"{i}.png" for i in range(count)]
    for path in paths:
        path.write_bytes(b"no image")
    return [str(path) for path in paths]


def test_all_damaged_images_in_one_message(tmp_path):
    write(tmp_path, count=8)
    names = damage(tmp_path, 7)
    shown = ", ".join(f"{name} (is of no form that is known)" for name in names[:5])
    assert error(tmp_path) == (
        f"7 images cannot be read: {shown} and 2 more; expected whole images, or "
        "--data.skip-damaged to go on without them"
    )


def test_skip_damaged(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "test")
    names = damage(tmp_path / "train", 2)
    images = read(tmp_path, skip_damaged=True)
    good = [
        10 * c + i for c in range(3) for i in range(5) if (c, i) not in ((1, 0), (1, 1))
    ]
    assert sorted(codes(images.train_images)) == good
    assert images.notes == (
        f"damaged images left out: {names[0]} (is of no form that is known), "
        f"{names[1]} (is of no form that is known)",
    )
    few = read(tmp_path, skip_damaged=True, limit=13)
    np.testing.assert_array_equal(few.train_images, images.train_images)


def test_damaged_images_are_left_out_in_one_round(tmp_path, monkeypatch):
    """With those of more than 8 bits, and as if they had never been there."""
    write(tmp_path / "train")
    write(tmp_path / "test")
    for i in range(2):
        values = np.full((8, 9), 4095 - i, np.uint16)
        Image.fromarray(values).save(tmp_path / "train" / "cat" / f"{i}.png")
    names = damage(tmp_path / "train", 2)
    read_ones, decode = [], image_files.decode

    def counted(source, size):
        read_ones.append(source)
        return decode(source, size)

    monkeypatch.setattr(image_files, "decode", counted)
    found = read(tmp_path, skip_damaged=True)
    assert len(read_ones) == len(set(read_ones)) == 30
    monkeypatch.setattr(image_files, "decode", decode)
    again = read(tmp_path, skip_damaged=True, limit=12)  # chosen of the whole ones
    for name in names:
        assert name in found.notes[-1] and name in again.notes[-1]
    whole = {image.tobytes() for image in found.train_images}
    assert len(found.train_images) == 13
    assert {image.tobytes() for image in again.train_images} < whole
    assert codes(found.test_images).tolist() == [
        10 * c + i for c in range(3) for i in range(5)
    ]
    for image, label in zip(found.train_images, found.train_labels, strict=True):
        if image[0, 0, 2] == 7:  # not of more than 8 bits
            assert image[0, 0, 0] // 10 == label
        else:
            assert label == 2 and image.min() == image.max() == 255


def test_a_part_of_damaged_images_alone(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "test", count=1)
    for path in (tmp_path / "test").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="all images of the part test are damaged"):
        read(tmp_path, skip_damaged=True)


def test_skip_damaged_without_effect():
    with pytest.raises(
        UserError, match="--data.skip-damaged: has no effect on data set"
    ):
        load(DataConfig(skip_damaged=True))


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "loop", "dangling"])
def test_no_file(tmp_path, kind):
    """Nothing is opened that might block or never end."""
    write(tmp_path)
    path = tmp_path / "bee" / "2.png"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    else:
        path.symlink_to(path if kind == "loop" else tmp_path / "nothing")
    found = error(tmp_path)
    assert found.startswith(f"1 image cannot be read: {path} (") and "\n" not in found
    assert len(read(tmp_path, skip_damaged=True).train_images) == 14
    other = path.rename(path.with_suffix(".txt"))
    images = read(tmp_path)
    assert len(images.train_images) == 14 and other.name in images.notes[0]


def test_decompression_bomb(tmp_path):
    write(tmp_path)
    data = bytearray((tmp_path / "bee" / "2.png").read_bytes())
    data[16:24] = (100_000).to_bytes(4, "big") * 2  # the size in a PNG's header
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "bee" / "2.png").write_bytes(data)
    assert "has more than 89,478,485 pixels" in error(tmp_path)


def test_more_than_memory_has(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setattr(base, "_free_memory", lambda: 15 * 8 * 9 * 3 - 1)
    assert error(tmp_path) == (
        f"{tmp_path}: 15 images: 0.0 GiB, but 0.0 GiB of memory are free; expected "
        "fewer images (--data.limit) or smaller ones (--data.resize)"
    )
