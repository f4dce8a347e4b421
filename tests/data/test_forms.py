"""Forms that people have: CSV, Parquet, idx, SVHN, coarse CIFAR-100, other names."""

import gzip

import numpy as np
import pytest
from PIL import Image
from written import RGB, write_idx, write_parquet, write_svhn

from jdarts import UserError
from jdarts.data import DataConfig, TextConfig, load, load_text

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9, 8), np.uint8)
LABELS = np.array([2, 0, 1, 1, 0, 2])


def read(name, path, **config):
    return load(DataConfig(name=name, dir=path, **config))


def error(name, path, **config):
    with pytest.raises(UserError) as caught:
        read(name, path, **config)
    return str(caught.value)


def by_pixels(images, labels):
    return sorted((x.tobytes(), int(y)) for x, y in zip(images, labels, strict=True))


# --- idx ---


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("prefix", ["", "emnist-letters-"])
def test_idx(tmp_path, pack, prefix):
    write_idx(tmp_path, f"{prefix}train", GREY, LABELS + 1, pack)
    write_idx(tmp_path, "t10k", GREY[:2], LABELS[:2] + 1, pack)
    (tmp_path / "notes.txt").touch()
    images = read("idx", tmp_path)
    np.testing.assert_array_equal(images.train_images, GREY[..., None])
    np.testing.assert_array_equal(images.train_labels, LABELS)
    np.testing.assert_array_equal(images.test_labels, LABELS[:2])
    assert images.class_names == ("1", "2", "3")
    assert images.notes == ("left out, other files: notes.txt",)


@pytest.mark.parametrize("above", ["raw", "MNIST/raw"])
def test_idx_as_torchvision_has_it(tmp_path, above):
    folder = tmp_path / above
    folder.mkdir(parents=True)
    for pack in (True, False):
        for part in ("train", "t10k"):
            write_idx(folder, part, GREY, LABELS, pack)
    for packed in folder.glob("*.gz"):
        packed.write_bytes(b"not read")
    for given in (tmp_path, folder):
        images = read("idx", given)
        np.testing.assert_array_equal(images.train_images, GREY[..., None])
        np.testing.assert_array_equal(images.test_labels, LABELS)
        assert images.notes == ()


def test_idx_twice(tmp_path):
    for folder in ("MNIST", "KMNIST"):
        (tmp_path / folder / "raw").mkdir(parents=True)
        write_idx(tmp_path / folder / "raw", "train", GREY, LABELS)
    assert error("idx", tmp_path) == (
        f"{tmp_path}: has KMNIST/raw, MNIST/raw; expected one folder of idx files"
    )
    write_idx(tmp_path, "train", GREY, LABELS)
    write_idx(tmp_path, "a-train", GREY, LABELS, pack=True)
    assert "expected one" in error("idx", tmp_path)


def test_fashion_has_names(tmp_path):
    labels = np.arange(10)
    write_idx(tmp_path, "train", np.zeros((10, 28, 28), np.uint8), labels)
    assert read("fashion_mnist", tmp_path).class_names[9] == "Ankle_boot"
    write_idx(tmp_path, "train", np.zeros((6, 28, 28), np.uint8), LABELS)
    assert "has 3 classes, expected the 10" in error("fashion_mnist", tmp_path)


@pytest.mark.parametrize("pack", [False, True])
def test_idx_that_lies(tmp_path, pack):
    write_idx(tmp_path, "train", GREY, LABELS, pack)
    path = next(p for p in tmp_path.iterdir() if "images" in p.name)
    data = path.read_bytes()
    data = gzip.decompress(data) if pack else data
    for count, said in ((7, "bytes after its head"), (2**31, "GiB of memory are")):
        changed = data[:4] + np.array(count, ">u4").tobytes() + data[8:]
        path.write_bytes(gzip.compress(changed) if pack else changed)
        assert said in error("idx", tmp_path)


# --- SVHN ---


def test_svhn(tmp_path):
    images = RNG.integers(0, 256, (4, 32, 32, 3), np.uint8)
    labels = np.array([10, 1, 9, 2], np.uint8)
    write_svhn(tmp_path / "train_32x32.mat", images, labels)
    write_svhn(tmp_path / "test_32x32.mat", images[:1], labels[:1])
    found = read("svhn", tmp_path)
    np.testing.assert_array_equal(found.train_images, images)
    assert found.train_labels.tolist() == [0, 1, 9, 2]  # 10 is the digit 0
    assert found.test_labels.tolist() == [0] and found.num_classes == 10
    write_svhn(tmp_path / "train_32x32.mat", images, labels + 1)
    assert "y goes from 2 to 11; expected 1 to 10" in error("svhn", tmp_path)


# --- CSV ---


def write_images(root):
    root.mkdir(exist_ok=True)
    for i, image in enumerate(RGB):
        Image.fromarray(image).save(root / f"{i}.png")


def test_csv(tmp_path):
    write_images(tmp_path / "pictures")
    splits = ["train", "train", "Train", "val", "val", "test"]
    names = ["b", "a", "b", "a", "b", "a"]
    rows = [f"{n},pictures/{i}.png,x,{splits[i]}" for i, n in enumerate(names)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["label,path,other,split", *rows]) + "\n\n", "utf-8-sig")
    images = read("csv", table)
    assert images.class_names == ("a", "b")
    found = by_pixels(images.train_images, images.train_labels)
    assert found == by_pixels(RGB[:3], [1, 0, 1])
    assert by_pixels(images.valid_images, images.valid_labels) == (
        by_pixels(RGB[3:5], [0, 1])
    )
    np.testing.assert_array_equal(images.test_images, RGB[5:])


def test_csv_of_numbers_without_parts(tmp_path):
    write_images(tmp_path)
    numbers = [10, 9, 10, 9, 10, 9]
    rows = [f"{i}.png,{n}" for i, n in enumerate(numbers)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["image,class", *rows]))
    images = read("csv", table)
    assert images.class_names == ("9", "10")
    assert by_pixels(images.train_images, images.train_labels) == (
        by_pixels(RGB, [1, 0, 1, 0, 1, 0])
    )
    (tmp_path / "2.png").unlink()
    assert error("csv", table) == (
        f"{table}: lists images that are not there: row 4 (2.png); expected paths "
        f"relative to {tmp_path}"
    )
    assert len(read("csv", table, skip_damaged=True).train_images) == 5


TABLE = "path,label,split\n" + "".join(
    f"im/{i}.png,{'ab'[i % 2]},{part}\n"
    for i, part in enumerate(["train"] * 4 + ["dev", "test_set"])
)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    "changed",
    [
        lambda text: text,
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace(",", "|"),
        lambda text: text.replace("/", "\\"),
        lambda text: text.replace(",split", ",split,class").replace("\n", ",x\n"),
        lambda text: text.replace(",split", ",split,image,set").replace("\n", ",x,y\n"),
    ],
)
def test_tables_of_other_programs(tmp_path, changed, encoding, ending):
    write_images(tmp_path / "im")
    head, _, rest = changed(TABLE).partition("\n")
    head = head.removesuffix(",x").removesuffix(",x,y")
    table = tmp_path / "table.csv"
    text = f"{head}\n{rest}".replace("\n", ending)
    table.write_bytes(text.encode(encoding))
    images = read("csv", table)
    found = by_pixels(images.train_images, images.train_labels)
    assert found == by_pixels(RGB[:4], [0, 1, 0, 1])
    np.testing.assert_array_equal(images.valid_images, RGB[4:5])
    np.testing.assert_array_equal(images.test_images, RGB[5:])
    assert images.class_names == ("a", "b")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_tables_in_other_encodings(tmp_path, encoding):
    table = tmp_path / "table.csv"
    table.write_text("path,label\n0.png,\u00e9\n", encoding)
    said = "is UTF-16 text; expected UTF-8" if encoding == "utf-16" else "not UTF-8 ("
    assert error("csv", table).startswith(f"{table}: {said}")


@pytest.mark.parametrize("odd", ["--1", "1" * 5000, "-", "\u0661", "1.5", "1-"])
def test_labels_that_only_look_like_numbers(tmp_path, odd):
    write_images(tmp_path)
    table = tmp_path / "table.csv"
    rows = [f"{i}.png,{label}\n" for i, label in enumerate([odd, 10, 9] * 2)]
    table.write_text(f"path,label\n{''.join(rows)}", "utf-8")
    assert set(read("csv", table).class_names) == {odd, "10", "9"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; expected a first row of names, such as path,label"),
        (" \n\n", "is empty; expected a first row of names, such as path,label"),
        ("\na,b\n", "its first row is ; expected one column 'path'"),
        ("image,file,label\n", "expected one column 'path' (or image, file,"),
        ("path,x\n0.png,a\n", "expected one column 'label' (or class, target"),
        ("path,label\n", "has no images to train or test"),
        ('sep="\npath,label\n', "its first row is"),
        ("sep=a\npath,label\n", "its first row is"),
        ("sep=;\n", "is empty; expected a first row of names, such as path,label"),
        ("path,label\n0.png\n", "row 2: 1 columns; expected 2"),
        ("path,label\n0.png,\n", "row 2: no label (found ''); expected a whole number"),
        ("path,label\n0.png,NaN\n", "row 2: no label (found 'NaN'); expected a whole"),
        ("path,label\n,a\n", "row 2: no path; expected that of an image"),
        (
            "path,label\n0.png,a\n1.png,b\n2.png,c\n",
            "t.csv: 3 classes of 3 training images (a, b, c); expected two or more",
        ),
        ("path,label,split\n0.png,a,x\n", "row 2: the split 'x'; expected train"),
        (
            "path,label,split\n0.png,a,train\n1.png,a,train\n1.png,b,test\n",
            "the part test has the label 'b', which the part train lacks",
        ),
    ],
)
def test_wrong_csv(tmp_path, text, said):
    write_images(tmp_path)
    (tmp_path / "t.csv").write_text(text)
    assert said in error("csv", tmp_path / "t.csv")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_says_its_separator(tmp_path, end):
    """As Excel writes it; the first row alone would say another."""
    write_images(tmp_path)
    rows = ["sep=;", "path;label;a,b,c", "0.png;cat;", "1.png;dog;"]
    (tmp_path / "t.csv").write_text(end.join(rows), newline="")
    assert read("csv", tmp_path / "t.csv").class_names == ("cat", "dog")


@pytest.mark.parametrize("name", ["csv", "parquet", "image_folder"])
def test_to_evaluate_a_test_part_is_enough(tmp_path, name):
    """Its classes are those that it has, or that the file names."""
    write_images(tmp_path)
    source = tmp_path
    if name == "csv":
        source = tmp_path / "t.csv"
        rows = [f"{i}.png,{'cat dog emu'.split()[LABELS[i]]},test" for i in range(6)]
        source.write_text("\n".join(["path,label,split", *rows]))
    elif name == "parquet":
        write_parquet(tmp_path / "test-0.parquet", list(range(6)), LABELS.tolist())
    else:
        source = tmp_path / "photos"
        for i, label in enumerate(LABELS):
            file = source / "test" / "cat dog emu".split()[label] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f"{i}.png").rename(file)
    images = load(DataConfig(name=name, dir=source), trains=False)
    assert images.class_names == ("cat", "dog", "emu")
    assert images.train_images.shape == (0, *RGB.shape[1:])
    assert by_pixels(images.test_images, images.test_labels) == by_pixels(RGB, LABELS)
    found = error(name, source)
    assert found.startswith(f"{source}: has no training images but 6 to test")
    assert found.endswith("; expected some to train")


def test_a_test_part_that_is_alone_in_its_folder(tmp_path):
    """As an archive unpacks; what a training lacks is told with what was left out."""
    for i, label in enumerate("cat cat dog cat dog".split()):
        file = tmp_path / "photos" / ("test" if i else "trian") / label / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RGB[i]).save(file)
    config = DataConfig(name="image_folder", dir=tmp_path)
    images = load(config, trains=False)
    assert images.class_names == ("cat", "dog") and len(images.test_images) == 4
    assert any("trian" in note for note in images.notes)
    found = error("image_folder", tmp_path)
    assert "has no training images but 4 to test (" in found and "trian" in found


@pytest.mark.parametrize("name", ["csv", "image_folder"])
def test_without_a_training_part_the_test_part_has_the_classes(tmp_path, name):
    """Of which the validation part may lack one."""
    parts = ["valid", "valid", "test", "test", "test", "test"]
    labels = ["cat", "dog", "cat", "dog", "emu", "emu"]
    write_images(tmp_path)
    source = tmp_path / "t.csv"
    rows = [f"{i}.png,{labels[i]},{parts[i]}" for i in range(6)]
    source.write_text("\n".join(["path,label,split", *rows]))
    if name == "image_folder":
        source = tmp_path / "photos"
        for i in range(6):
            file = source / parts[i] / labels[i] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f"{i}.png").rename(file)
    images = load(DataConfig(name=name, dir=source), trains=False)
    assert images.class_names == ("cat", "dog", "emu")
    assert (len(images.valid_images), len(images.test_images)) == (2, 4)


# --- Parquet ---


def test_parquet_without_rows(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", [], [])
    assert error("parquet", tmp_path) == (
        f"{tmp_path}: has no rows; expected at least one image"
    )


def test_parquet(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    labels = LABELS.tolist()
    write_parquet(folder / "train-00000-of-00002.parquet", [0, 1], labels)
    write_parquet(folder / "train-00001-of-00002.parquet", [2], labels)
    write_parquet(folder / "validation-00000-of-00001.parquet", [3, 4], labels)
    write_parquet(folder / "test-00000-of-00001.parquet", [5], labels)
    images = read("parquet", tmp_path)
    assert images.class_names == ("cat", "dog", "emu")
    assert by_pixels(images.train_images, images.train_labels) == (
        by_pixels(RGB[:3], LABELS[:3])
    )
    assert by_pixels(images.valid_images, images.valid_labels) == (
        by_pixels(RGB[3:5], LABELS[3:5])
    )
    np.testing.assert_array_equal(images.test_images, RGB[5:])


@pytest.mark.parametrize("group", [None, 1, 4])
def test_parquet_of_words_in_one_file(tmp_path, group):
    path = tmp_path / "mine.parquet"
    words = ["cat", "ant", "bee", "bee", "ant", "cat"]
    write_parquet(path, range(6), words, names=(), group=group)
    images = read("parquet", path)
    assert images.class_names == ("ant", "bee", "cat")
    assert by_pixels(images.train_images, images.train_labels) == by_pixels(RGB, LABELS)


def test_parquet_label_out_of_range(tmp_path):
    path = tmp_path / "mine.parquet"
    write_parquet(path, range(6), LABELS.tolist(), names=("cat", "dog"))
    assert f"{path}, row 1: the label 2; expected 0 to 1" == error("parquet", path)


@pytest.mark.parametrize("label", [None, "", "NaN", float("nan"), 0.5, [1], {"a": 1}])
@pytest.mark.parametrize("names", [(), ("cat", "dog")])
def test_parquet_without_a_label(tmp_path, label, names):
    path = tmp_path / "mine.parquet"
    other = {str: "a", float: 1.0, list: [0], dict: {"a": 0}}.get(type(label), 1)
    write_parquet(path, range(2), [label, other], names)
    found = error("parquet", path)
    assert found.startswith(f"{path}, row 1: no label (found ")
    assert found.endswith("; expected a whole number or a word")


@pytest.mark.parametrize("labels", [[0.0, 1.0] * 3, [0, 1] * 3, [b"0", b"1"] * 3])
@pytest.mark.parametrize("names", [(), ("cat", "dog")])
def test_parquet_labels(tmp_path, labels, names):
    path = tmp_path / "mine.parquet"
    write_parquet(path, range(6), labels, names)
    images = read("parquet", path)
    assert images.class_names == (names or ("0", "1"))
    found = by_pixels(images.train_images, images.train_labels)
    assert found == by_pixels(RGB, [0, 1] * 3)


def test_class_that_is_a_name_only(tmp_path):
    path = tmp_path / "mine.parquet"
    write_parquet(path, range(6), [0, 2] * 3)
    assert read("parquet", path).notes == ("no training image of the class dog",)


# --- CIFAR-100, coarse ---


def test_coarse_labels(tmp_path):
    record = np.zeros((20, 2 + 3072), np.uint8)
    record[:, 0], record[:, 1] = np.arange(20), np.arange(20) + 70
    for name in ("train.bin", "test.bin"):
        (tmp_path / name).write_bytes(record.tobytes())
    coarse, fine = (read(n, tmp_path) for n in ("cifar100_coarse", "cifar100"))
    assert coarse.train_labels.tolist() == list(range(20))
    assert fine.train_labels.tolist() == list(range(70, 90))
    assert coarse.num_classes == 20 and coarse.class_names[1] == "fish"


# --- texts ---


@pytest.mark.parametrize("name", ["ptb", "wikitext2"])
@pytest.mark.parametrize("folder", ["", "penn"])
def test_other_names_of_texts(tmp_path, name, folder):
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    for part in ("train", "valid", "test"):
        (place / f"{part}.txt").write_text(f"a b {part}\n")
    text = load_text(TextConfig(name, tmp_path))
    assert text.vocabulary[:3] == ("a", "b", "train") and len(text.test) == 4
    assert text.described == (
        f"text '{name}' of {tmp_path}: 4 training, 4 validation and 4 test words, 6 "
        "different ones (a b train <eos> valid test)"
    )


def test_texts_in_two_folders(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for part in ("train", "valid", "test"):
            (tmp_path / folder / f"{part}.txt").write_text("a b\n")
    with pytest.raises(UserError, match="expected one folder"):
        load_text(TextConfig("ptb", tmp_path))
