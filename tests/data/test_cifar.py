"""CIFAR readers on small files in the published layouts."""

import pickle
import struct

import numpy as np
import pytest

from jdarts import UserError
from jdarts.data import DataConfig, load
from jdarts.data.cifar import CIFAR10, CIFAR100

N = 3  # images a batch
SETS = {"cifar10": CIFAR10, "cifar100": CIFAR100}


def content(cifar, seed=0):
    """Random images ``[N, 32, 32, 3]`` and labels for every batch, by batch name."""
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.integers(0, 256, (N, 32, 32, 3), np.uint8),
            rng.integers(0, len(cifar.class_names), N),
        )
        for name in (*cifar.train, cifar.test)
    }


def planes(images):
    """``[N, 3072]``: all red, then all green, then all blue, row by row."""
    return np.stack([im[:, :, c].ravel() for im in images for c in range(3)]).reshape(
        len(images), 3072
    )


def write_binary(root, cifar, batches):
    folder = root / cifar.binary_folder
    folder.mkdir(parents=True)
    for name, (images, labels) in batches.items():
        records = b""
        for pixels, label in zip(planes(images), labels, strict=True):
            coarse = b"\x07" if cifar is CIFAR100 else b""
            records += coarse + bytes([label]) + pixels.tobytes()
        (folder / f"{name}.bin").write_bytes(records)
    return folder


def write_python(root, cifar, batches, dump=pickle.dumps):
    folder = root / cifar.python_folder
    folder.mkdir(parents=True)
    for name, (images, labels) in batches.items():
        batch = {
            b"data": planes(images),
            cifar.label_key.encode(): [int(label) for label in labels],
            b"filenames": [b"a.png"] * len(labels),
        }
        (folder / name).write_bytes(dump(batch))
    return folder


def python2_dump(batch):
    """The opcodes that Python 2 and NumPy 1.x left in the published files.

    Byte strings for everything, and 0 and 1 where newer pickles have booleans.
    """

    def text(value):
        return b"U" + bytes([len(value)]) + value

    data = batch[b"data"]
    shape = b"M" + struct.pack("<H", len(data)) + b"M" + struct.pack("<H", 3072)
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
    array += text(b"b") + b"\x87R(K\x01" + shape + b"\x86" + dtype + b"\x89"
    array += b"T" + struct.pack("<I", data.size) + data.tobytes() + b"tb"
    key = next(k for k in batch if b"labels" in k)
    labels = b"](" + b"".join(b"K" + bytes([v]) for v in batch[key]) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(key) + labels + b"u."


DUMPS = [
    python2_dump,
    *(lambda batch, p=p: pickle.dumps(batch, protocol=p) for p in (2, 4, 5)),
]


def check(name, directory, batches):
    cifar = SETS[name]
    images = load(DataConfig(name=name, dir=directory))
    x = np.concatenate([batches[part][0] for part in cifar.train])
    y = np.concatenate([batches[part][1] for part in cifar.train])
    np.testing.assert_array_equal(images.train_images, x)
    np.testing.assert_array_equal(images.train_labels, y)
    np.testing.assert_array_equal(images.test_images, batches[cifar.test][0])
    np.testing.assert_array_equal(images.test_labels, batches[cifar.test][1])
    assert images.train_labels.dtype == images.test_labels.dtype == np.int32
    assert images.train_images.flags.c_contiguous
    assert images.image_shape == (32, 32, 3)
    assert images.num_classes == {"cifar10": 10, "cifar100": 100}[name]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("parent", [True, False])
def test_binary(tmp_path, name, parent):
    batches = content(SETS[name])
    folder = write_binary(tmp_path, SETS[name], batches)
    check(name, tmp_path if parent else folder, batches)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("dump", DUMPS, ids=["python2", "2", "4", "5"])
def test_python(tmp_path, name, dump):
    batches = content(SETS[name])
    folder = write_python(tmp_path, SETS[name], batches, dump)
    check(name, tmp_path, batches)
    check(name, folder, batches)


def test_folder_may_have_any_name(tmp_path):
    batches = content(CIFAR10)
    moved = tmp_path / "mine"
    write_binary(tmp_path, CIFAR10, batches).rename(moved)
    check("cifar10", moved, batches)


def test_binary_is_preferred(tmp_path):
    binary, python = content(CIFAR10, 1), content(CIFAR10, 2)
    write_python(tmp_path, CIFAR10, python)
    write_binary(tmp_path, CIFAR10, binary)
    check("cifar10", tmp_path, binary)


@pytest.mark.parametrize("name", SETS)
def test_class_names(name):
    names = SETS[name].class_names
    assert len(set(names)) == len(names) == {"cifar10": 10, "cifar100": 100}[name]
    assert list(names) == sorted(names)  # as in both published lists


def error(directory, name="cifar10"):
    with pytest.raises(UserError) as caught:
        load(DataConfig(name=name, dir=directory))
    return str(caught.value)


def test_missing_folder(tmp_path):
    folder = tmp_path / "none"
    assert error(folder) == (
        f"{folder}: no such file or folder (--data.dir); expected the folder "
        "cifar-10-batches-bin or cifar-10-batches-py, or its parent"
    )


def test_empty_folder(tmp_path):
    assert error(tmp_path, "cifar100") == (
        f"{tmp_path}: found an empty folder; expected the folder cifar-100-binary or "
        "cifar-100-python, or its batches"
    )


def test_other_set(tmp_path):
    folder = write_binary(tmp_path, CIFAR100, content(CIFAR100))
    assert error(folder) == (
        f"{folder}: found test.bin, train.bin; expected the folder "
        "cifar-10-batches-bin or cifar-10-batches-py, or its batches"
    )


def test_file_instead_of_folder(tmp_path):
    path = tmp_path / "cifar.tar.gz"
    path.touch()
    assert error(path) == f"{path}: is a file; expected a folder of batches"


def test_missing_batch(tmp_path):
    folder = write_binary(tmp_path, CIFAR10, content(CIFAR10))
    (folder / "data_batch_4.bin").unlink()
    assert error(tmp_path) == (
        f"{folder / 'data_batch_4.bin'}: missing; expected the batches "
        "data_batch_1.bin, data_batch_2.bin, data_batch_3.bin, data_batch_4.bin, "
        "data_batch_5.bin, test_batch.bin"
    )


def test_empty_batch_folder(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    line = f"{folder / 'train'}: missing; expected the batches train, test"
    assert error(tmp_path, "cifar100") == error(folder, "cifar100") == line


@pytest.mark.parametrize(
    ("name", "part", "record"),
    [("cifar10", "test_batch.bin", 3073), ("cifar100", "train.bin", 3074)],
)
@pytest.mark.parametrize("missing", [1, None])
def test_cut_short(tmp_path, name, part, record, missing):
    path = write_binary(tmp_path, SETS[name], content(SETS[name])) / part
    data = path.read_bytes()[: -missing if missing else 0]
    path.write_bytes(data)
    assert len(data) == (N * record - 1 if missing else 0)
    assert error(tmp_path, name) == (
        f"{path}: {len(data)} bytes (cut short?); expected a positive multiple of "
        f"{record}, the bytes of one image and its labels"
    )


def test_cut_between_records(tmp_path):
    path = write_binary(tmp_path, CIFAR10, content(CIFAR10)) / "data_batch_1.bin"
    path.write_bytes(path.read_bytes()[:-3073])
    assert error(tmp_path) == (f"{path}: 2 images; expected 3 as in the other batches")


@pytest.mark.parametrize("write", [write_binary, write_python])
def test_label_out_of_range(tmp_path, write):
    batches = content(CIFAR10)
    batches["data_batch_2"][1][1] = 10
    folder = write(tmp_path, CIFAR10, batches)
    path = next(p for p in folder.iterdir() if p.stem == "data_batch_2")
    assert error(tmp_path) == (f"{path}: image 1 has the label 10; expected 0 to 9")


class Evil:
    """Pickles to a call of a function; here one that leaves a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickle_runs_no_code(tmp_path):
    path = write_python(tmp_path, CIFAR10, content(CIFAR10)) / "data_batch_1"
    trace = tmp_path / "trace"
    path.write_bytes(pickle.dumps({b"data": Evil(trace)}))
    module = open.__module__
    assert error(tmp_path) == (
        f"{path}: not a readable pickle (UnpicklingError: it asks for {module}.open); "
        "expected one of plain values and NumPy arrays"
    )
    assert not trace.exists()
    pickle.loads(path.read_bytes())[b"data"].close()
    assert trace.exists()  # so the file was indeed harmful


def test_pickle_codecs(tmp_path):
    path = write_python(tmp_path, CIFAR10, content(CIFAR10)) / "data_batch_1"
    path.write_bytes(b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.")
    assert "(UnpicklingError: encoding 'rot13')" in error(tmp_path)


def test_pickle_cut_short(tmp_path):
    path = write_python(tmp_path, CIFAR10, content(CIFAR10)) / "test_batch"
    path.write_bytes(path.read_bytes()[:5000])
    assert error(tmp_path).startswith(f"{path}: not a readable pickle (")


BAD_BATCHES = {
    "list": ([1], "holds a list; expected a dictionary with data and labels"),
    "no labels": (
        {b"data": np.zeros((3, 3072), np.uint8)},
        "has no entry labels; expected data and labels",
    ),
    "width": (
        {b"data": np.zeros((3, 3071), np.uint8), b"labels": [0] * 3},
        "data is uint8 [3, 3071]; expected uint8 [N, 3072], N > 0",
    ),
    "dtype": (
        {b"data": np.zeros((3, 3072), np.int16), b"labels": [0] * 3},
        "data is int16 [3, 3072]; expected uint8 [N, 3072], N > 0",
    ),
    "empty": (
        {b"data": np.zeros((0, 3072), np.uint8), b"labels": []},
        "data is uint8 [0, 3072]; expected uint8 [N, 3072], N > 0",
    ),
    "count": (
        {b"data": np.zeros((3, 3072), np.uint8), b"labels": [0] * 2},
        "labels is int64 [2]; expected integers [3]",
    ),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_bad_python_batch(tmp_path, case):
    batch, message = BAD_BATCHES[case]
    path = write_python(tmp_path, CIFAR10, content(CIFAR10)) / "data_batch_3"
    path.write_bytes(pickle.dumps(batch))
    assert error(tmp_path) == f"{path}: {message}"
