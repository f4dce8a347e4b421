"""Whatever a file is, reading it ends in data or in one line: all readers and kinds."""

import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from written import write_idx, write_parquet, write_svhn

from jdarts import UserError
from jdarts.data import DataConfig, TextConfig, load, load_text
from jdarts.data.safe_pickle import load_pickle

GREY = np.zeros((6, 32, 32), np.uint8)
LABELS = np.array([2, 0, 1, 1, 0, 2])


def make_cifar(root):
    data = np.zeros((3, 3072), np.uint8)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        batch = {b"data": data, b"labels": [0, 1, 2]}
        (root / name).write_bytes(pickle.dumps(batch))
    return root, root / "data_batch_3"


def make_binary_cifar(root):
    record = np.zeros((3, 2 + 3072), np.uint8)
    for name in ("train.bin", "test.bin"):
        (root / name).write_bytes(record.tobytes())
    return root, root / "train.bin"


def make_idx(root):
    write_idx(root, "train", GREY, LABELS)
    return root, root / "train-images-idx3-ubyte"


def make_packed_idx(root):
    write_idx(root, "train", GREY, LABELS, pack=True)
    return root, root / "train-labels-idx1-ubyte.gz"


def make_svhn(root):
    images = np.zeros((3, 32, 32, 3), np.uint8)
    write_svhn(root / "train_32x32.mat", images, np.array([1, 2, 3], np.uint8))
    return root, root / "train_32x32.mat"


def make_npz(root):
    np.savez(root / "x.npz", x_train=GREY, y_train=LABELS)
    return root / "x.npz", root / "x.npz"


def make_folder(root):
    for name in ("a", "b"):
        (root / name).mkdir()
        for i in range(2):
            Image.fromarray(GREY[0]).save(root / name / f"{i}.png")
    return root, root / "a" / "1.png"


def make_csv(root):
    _, image = make_folder(root)
    (root / "x.csv").write_text(
        "path,label\n" + "a/0.png,0\nb/0.png,1\n" * 4 + "a/1.png,0\n"
    )
    return root / "x.csv", root / "x.csv"


def make_csv_image(root):
    return make_csv(root)[0], root / "a" / "1.png"


def make_parquet(root):
    write_parquet(root / "x.parquet", range(6), LABELS.tolist())
    return root / "x.parquet", root / "x.parquet"


def make_text(root):
    (root / "x.txt").write_text("a b c\n" * 100)
    return root / "x.txt", root / "x.txt"


def make_ptb(root):
    for part in ("train", "valid", "test"):
        (root / f"ptb.{part}.txt").write_text("a b c\n")
    return root, root / "ptb.valid.txt"


def make_zip(root):
    with zipfile.ZipFile(root / "x.zip", "w") as archive:
        for part in ("train", "valid", "test"):
            archive.writestr(f"ptb.{part}.txt", "a b c\n")
    return root / "x.zip", root / "x.zip"


READERS = {
    "cifar10": ("cifar10", make_cifar),
    "cifar100": ("cifar100", make_binary_cifar),
    "idx": ("idx", make_idx),
    "packed idx": ("idx", make_packed_idx),
    "svhn": ("svhn", make_svhn),
    "npz": ("npz", make_npz),
    "image_folder": ("image_folder", make_folder),
    "csv": ("csv", make_csv),
    "image of csv": ("csv", make_csv_image),
    "parquet": ("parquet", make_parquet),
    "file": ("file", make_text),
    "ptb": ("ptb", make_ptb),
    "zip": ("ptb", make_zip),
}
TEXT = ("file", "ptb")


def missing(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def other_type(path):
    path.write_bytes(b"\x00\xff\xfe no such thing \x80" * 9)


def folder(path):
    path.unlink()
    path.mkdir()


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def loop(path):
    path.unlink()
    path.symlink_to(path)


def random_bytes(path):
    path.write_bytes(np.random.default_rng(0).bytes(2000))


# Where less of it is data as well: a text, an image fewer, lines of a table.
FINE = {
    ("file", "cut"),
    ("ptb", "cut"),
    ("csv", "cut"),
    ("image_folder", "missing"),
    ("image_folder", "folder"),
}


@pytest.mark.parametrize(
    "damage",
    [missing, empty, cut, other_type, folder, pipe, device, loop, random_bytes],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("reader", READERS)
def test_damage(tmp_path, reader, damage):
    name, make = READERS[reader]
    given, damaged = make(tmp_path)
    read(name, given)  # as it is made it can be read
    damage(damaged)
    if (reader, damage.__name__) in FINE:
        read(name, given)
        return
    with pytest.raises(UserError) as caught:
        read(name, given)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def read(name, path):
    if name in TEXT:
        return load_text(TextConfig(name, path))
    return load(DataConfig(name=name, dir=path))


# --- headers that promise more than there is ---


def test_header_of_an_array(tmp_path):
    path = tmp_path / "x.npz"
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 32, 32), }" % 2**40
    with zipfile.ZipFile(path, "w") as archive:
        start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head))
        archive.writestr("x_train.npy", start + head)
        archive.writestr("y_train.npy", start + head)
    with pytest.raises(UserError, match="GiB of memory are free"):
        read("npz", path)


def test_large_text_in_a_small_zip(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in ("valid", "test"):
            archive.writestr(f"ptb.{part}.txt", "a b c\n")
        with archive.open("ptb.train.txt", "w", force_zip64=True) as file:
            for _ in range(33):
                file.write(bytes(2**25))
    assert path.stat().st_size < 2**21
    with pytest.raises(UserError, match="1.0 GiB of text; expected at most 1 GiB"):
        read("ptb", path)


def test_labels_of_a_thousand_million_classes(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x_train=GREY[:2], y_train=np.array([0, 10**9]))
    with pytest.raises(UserError, match="2 different labels from 0 to 1000000000"):
        read("npz", path)


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("name", ["npz", "ptb"])
def test_damage_in_other_packings(tmp_path, name, packing):
    path = tmp_path / "x"
    with zipfile.ZipFile(path, "w", packing) as archive:
        for part in ("train", "valid", "test"):
            archive.writestr(f"ptb.{part}.txt", b"a b c\n" * 500)
        for part in ("x_train.npy", "y_train.npy"):
            archive.writestr(part, b"\x93NUMPY" + bytes(500))
    whole, errors = path.read_bytes(), []
    for at in range(30, 100, 3):
        path.write_bytes(whole[:at] + b"\xff\xfe\xfd" + whole[at + 3 :])
        try:
            read(name, path)
        except UserError as error:
            errors.append(str(error))
    assert len(errors) > 10 and not any("\n" in error for error in errors)


SHARED = """
import sys
import pyarrow as pa
from pyarrow import parquet
from pathlib import Path
images = pa.array([Path(sys.argv[1]).read_bytes() + bytes(5_000_000)], pa.binary())
shared = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int8()), images)
if sys.argv[3] == "struct":
    shared = pa.StructArray.from_arrays([shared], ["bytes"])
table = pa.table({"image": shared, "label": [0, 1] * 500})
parquet.write_table(table, sys.argv[2], compression="zstd")
"""


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_table_of_one_image_many_times(tmp_path, form):
    """Some kB that would be 5 GB; read within 3 GiB more than the program takes."""
    place, path = tmp_path / "x.png", tmp_path / "x.parquet"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(place)
    subprocess.run([sys.executable, "-c", SHARED, place, path, form], check=True)
    assert path.stat().st_size < 20_000
    code = (
        "import resource, sys; from pathlib import Path\n"
        "import pyarrow.parquet; from jdarts.data import DataConfig, load\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**30,) * 2)\n"
        "print(len(load(DataConfig('parquet', Path(sys.argv[1]))).train_images))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "1000\n", done.stderr


# --- pickles ---

FUZZ = """
import pickle, random, resource, sys
from pathlib import Path
import numpy as np
from jdarts.data.safe_pickle import load_pickle
from jdarts.errors import UserError
resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30,) * 2)
path, draw = Path(sys.argv[1]), random.Random(0)
good = {b"data": np.arange(60, dtype=np.uint8).reshape(5, 12), "labels": [1, 2, 3],
        "f": np.arange(4, dtype=">f4"), "s": np.array([b"ab", b"c"])}
codes = b"()}]RbocN\\x81\\x8e\\x95\\x96rjqhtu."
for trial in range(1500):
    data = bytearray(pickle.dumps(good, trial % 6))
    for _ in range(draw.randrange(1, 8)):
        at = draw.randrange(len(data) + 1)
        if draw.random() < 0.4:
            data[at:at + 1] = bytes([draw.randrange(256)])
        elif draw.random() < 0.5:
            del data[at:at + draw.randrange(1, 9)]
        else:
            data[at:at] = bytes(draw.choice(codes) for _ in range(draw.randrange(1, 6)))
    path.write_bytes(data)
    try:
        load_pickle(path)
    except UserError as error:
        assert "\\n" not in str(error)
print("whole")
"""


def test_fuzzed_pickles(tmp_path):
    """In another process, which a wrong address would end."""
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(tmp_path / "x")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0 and done.stdout == "whole\n", done.stderr


@pytest.mark.parametrize("protocol", range(6))
def test_pickled_arrays_come_back(tmp_path, protocol):
    good = {
        "rows": np.arange(60, dtype=np.uint8).reshape(5, 12),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(4, dtype=">f4"),
        "bytes": np.array([b"ab", b"c"]),
        "none": np.zeros((0, 3), np.int64),
        "list": [1, 2],
    }
    (tmp_path / "x").write_bytes(pickle.dumps(good, protocol))
    found = load_pickle(tmp_path / "x")
    for name, value in good.items():
        np.testing.assert_array_equal(found[name], value)
        assert getattr(found[name], "dtype", None) == getattr(value, "dtype", None)


NDARRAY = b"cnumpy\nndarray\n"
DTYPE = b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR"
TREE = b"K\x01" + b"2\x86" * 40  # a tuple of 2^40 numbers, in 82 bytes
HOSTILE = {
    "key": b"\x80\x02}" + TREE + b"K\x01s.",
    "keys": b"\x80\x02}(" + TREE + b"K\x01u.",
    "key of a dictionary": b"\x80\x02(" + TREE + b"K\x01d.",
    "set": b"\x80\x04\x8f(" + TREE + b"\x90.",
    "frozen set": b"\x80\x04(" + TREE + b"\x91.",
    "tree of a shape": b"cnumpy.core.numeric\n_frombuffer\n(U\x01a"
    + DTYPE % b"u1"
    + TREE
    + b"S'C'\ntR.",
    "tree of an order": b"cnumpy.core.numeric\n_frombuffer\n(U\x01a"
    + DTYPE % b"u1"
    + b"(I1\nt"
    + TREE
    + b"tR.",
    "tree of a dtype": b"cnumpy\ndtype\n(" + TREE + b"tR.",
    "tree of a state": b"cnumpy\ndtype\n(S'u1'\ntR" + TREE + b"b.",
    "tree of a name": b"\x80\x04" + TREE + TREE + b"\x93.",
    "tree of an identity": b"\x80\x02" + TREE + b"Q.",
    "numbers that collide": b"".join(b"Np%d\n" % (i * (2**61 - 1)) for i in range(9))
    + b".",
    "the same bytes again": b"\x80\x02c_codecs\nencode\n(X\0\0\x10\0"
    + b"a" * 2**20
    + b"U\x06latin1tq\x010"
    + b"c_codecs\nencode\nh\x01R0" * 9
    + b"N.",
    # numpy.ndarray((1,), dtype("O"), eight bytes that are taken for an address)
    "pointer": NDARRAY + b"((I1\nt" + DTYPE % b"O" + b"U\x08\x08\0\0\0\0\0\0\0tR.",
    "pointer by state": b"cnumpy.core.multiarray\n_reconstruct\n("
    + NDARRAY
    + b"(I0\ntS'b'\ntR(I1\n(I1\nt"
    + DTYPE % b"O8"
    + b"I0\nU\x08\x08\0\0\0\0\0\0\0tb.",
    "pointer in a buffer": b"cnumpy.core.numeric\n_frombuffer\n(U\x08\x08\0\0\0\0\0\0\0"
    + DTYPE % b"O8"
    + b"(I1\ntS'C'\ntR.",
    "memo of 2^31 entries": b"\x80\x02]r\xff\xff\xff\x7f.",
    "bytearray of 2^40": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x.",
    "bytes of 2^60": b"\x80\x04\x8e" + (2**60).to_bytes(8, "little") + b"x.",
    "code": b"cos\nsystem\n(S'true'\ntR.",
    "a function changed": b"cnumpy\ndtype\n}S'x'\nI1\nsb.",
    "shape": b"cnumpy.core.numeric\n_frombuffer\n(U\x01a"
    + DTYPE % b"u1"
    + b"(I-1\nI-1\ntS'C'\ntR.",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickles(tmp_path, case):
    path = tmp_path / "x"
    path.write_bytes(HOSTILE[case])
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from jdarts.data.safe_pickle import load_pickle\n"
        "from jdarts.errors import UserError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30,) * 2)\n"
        "try: print(type(load_pickle(Path(sys.argv[1]))))\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) < 400
    if case == "memo of 2^31 entries":  # of which one is used
        assert done.stdout == "<class 'list'>\n"
    else:
        assert done.stdout.startswith(f"{path}: not a readable pickle (")


@pytest.mark.parametrize("entry", ["data", "labels"])
@pytest.mark.parametrize("more", [b"2\x86", b"0](h\x01h\x01eq\x01"])
def test_tree_in_a_batch(tmp_path, entry, more):
    """A list or tuple of 2^40 numbers for one of the entries."""
    folder, path = make_cifar(tmp_path)
    tree = b"]K\x01aq\x01" + more * 40
    other = b"labels" if entry == "data" else b"data"
    start = b"\x80\x02}U" + bytes([len(other)]) + other + b"]K\x01as"
    path.write_bytes(start + b"U" + bytes([len(entry)]) + entry.encode() + tree + b"s.")
    with pytest.raises(UserError, match=f"{entry} is a (list|tuple)") as caught:
        read("cifar10", folder)
    assert len(str(caught.value)) < len(str(path)) + 200
