"""Texts: vocabularies and parts by hand, and everything that can be wrong with them."""

import zipfile

import numpy as np
import pytest

from jdarts import UserError
from jdarts.data import TEXTS, TextConfig, load_text

PARTS = ("train", "valid", "test")


def write(folder, name="ptb.{}.txt", **texts):
    folder.mkdir(exist_ok=True)
    for part, text in texts.items():
        (folder / name.format(part)).write_bytes(text.encode())
    return folder


@pytest.fixture
def ptb(tmp_path):
    return write(
        tmp_path / "ptb", train=" a b \n b c\n", valid=" c a\n", test="d\n\n a\n"
    )


def words(text, part):
    return [text.vocabulary[i] for i in text.parts[part]]


def test_numbers_go_by_first_appearance(ptb):
    text = load_text(TextConfig("ptb", ptb))
    assert text.vocabulary == ("a", "b", "<eos>", "c", "d")
    assert text.train.tolist() == [0, 1, 2, 1, 3, 2] and text.train.dtype == np.int32
    assert words(text, "valid") == ["c", "a", "<eos>"]
    assert words(text, "test") == ["d", "<eos>", "<eos>", "a", "<eos>"]


def test_zip_and_folder_are_the_same(ptb, tmp_path):
    """Also in a folder of the zip, beside what other systems put into it."""
    file = tmp_path / "ptb.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for part in PARTS:
            name = f"ptb.{part}.txt"
            archive.write(ptb / name, f"deep/er/{name}")
            archive.writestr(f"__MACOSX/._{name}", "rubbish")
    ours, theirs = (load_text(TextConfig("ptb", p)) for p in (ptb, file))
    assert ours.vocabulary == theirs.vocabulary
    for part in PARTS:
        assert np.array_equal(ours.parts[part], theirs.parts[part])


def test_wikitext(tmp_path):
    texts = {part: f" = {part} = \n <unk> @-@ \n" for part in PARTS}
    folder = write(tmp_path / "w", "wiki.{}.tokens", **texts)
    text = load_text(TextConfig("wikitext2", folder))
    assert words(text, "test") == ["=", "test", "=", "<eos>", "<unk>", "@-@", "<eos>"]
    assert len(text.vocabulary) == 7  # =, three parts' names, <eos>, <unk>, @-@


def test_a_file_by_characters(tmp_path):
    file = tmp_path / "x.txt"
    file.write_bytes(("\ufeff" + "abcde\r\n" * 100).encode())
    text = load_text(TextConfig("file", file, level="character"))
    assert text.vocabulary == (*"abcde", "\n")
    joined = "".join("".join(words(text, part)) for part in PARTS)
    assert joined == "abcde\n" * 100
    for part in PARTS:  # cut between lines
        assert words(text, part)[0] == "a" and words(text, part)[-1] == "\n"
    assert len(text.train) == 540 and len(text.valid) == 30 and len(text.test) == 30


def test_most_frequent_words_are_kept(tmp_path):
    folder = write(tmp_path / "p", train="x a b a c a b\n", valid="b z\n", test="a x\n")
    text = load_text(TextConfig("ptb", folder, vocabulary=3))
    assert text.vocabulary == ("a", "b", "<unk>")
    assert words(text, "train") == "<unk> a b a <unk> a b <unk>".split()
    assert words(text, "valid") == ["b", "<unk>", "<unk>"]


def test_unknown_words_are_mapped_or_refused(tmp_path):
    file = tmp_path / "x.txt"
    file.write_text("one two\n" * 92 + "one three\n" * 6)
    text = load_text(TextConfig("file", file))
    assert text.vocabulary == ("one", "two", "<eos>", "<unk>")
    assert words(text, "test")[-3:] == ["one", "<unk>", "<eos>"]
    with pytest.raises(UserError, match="valid part: has the word 'three'.*map"):
        load_text(TextConfig("file", file, unknown="refuse"))


def test_limit_counts_training_tokens(ptb):
    text = load_text(TextConfig("ptb", ptb, limit=3))
    assert words(text, "train") == ["a", "b", "<eos>"]
    assert len(text.valid) == 3
    with pytest.raises(UserError, match="--data.limit: 7 is more than the 6 tokens"):
        load_text(TextConfig("ptb", ptb, limit=7))


def test_the_embedded_text_is_english():
    text = load_text(TextConfig())
    assert len(text.train) > 50_000 and len(text.valid) > 2_000
    assert {"the", "expression", "<eos>", "<unk>"} <= set(text.vocabulary)


@pytest.mark.parametrize("name", TEXTS)
def test_rows(name):
    assert TEXTS[name].description
    if TEXTS[name].dir:
        with pytest.raises(UserError, match="--data.dir: not given; .*expects a"):
            load_text(TextConfig(name))


# --- bad input ------------------------------------------------------------------------


def refused(config):
    with pytest.raises(UserError) as caught:
        load_text(config)
    return str(caught.value)


def test_missing_parts(ptb, tmp_path):
    (ptb / "ptb.valid.txt").unlink()
    said = refused(TextConfig("ptb", ptb))
    assert f"{ptb}: has no ptb.valid.txt; expected ptb.train.txt" in said
    file = tmp_path / "x.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("ptb.train.txt", "a b\n")
    assert f"{file}: has no ptb.valid.txt, no ptb.test" in refused(
        TextConfig("ptb", file)
    )


@pytest.mark.parametrize("content", ["", " \n", "\n\n"])
def test_empty_part(ptb, content):
    (ptb / "ptb.valid.txt").write_text(content)
    assert "the valid part is empty" in refused(TextConfig("ptb", ptb))


def test_one_word_vocabulary(tmp_path):
    file = tmp_path / "x.txt"
    file.write_text("aaaa" * 100)
    config = TextConfig("file", file, level="character")
    assert "the vocabulary is the character 'a' alone" in refused(config)


def test_not_utf8(ptb, tmp_path):
    (ptb / "ptb.test.txt").write_bytes(b"caf\xe9 \n")
    assert "ptb.test.txt: not UTF-8 (byte 3: 0xe9)" in refused(TextConfig("ptb", ptb))


def test_wrong_paths(tmp_path):
    assert "no such file or folder" in refused(TextConfig("ptb", tmp_path / "no"))
    assert "is a folder; expected a UTF-8" in refused(TextConfig("file", tmp_path))
    file = tmp_path / "x.zip"
    file.write_bytes(b"no zip")
    assert f"{file}: cannot be read" in refused(TextConfig("ptb", file))
    assert "would not be read" in refused(TextConfig("topics", tmp_path))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "pbt"}, "did you mean 'ptb'"),
        ({"level": "char"}, "did you mean 'character'"),
        ({"unknown": "mapp"}, "did you mean 'map'"),
        ({"vocabulary": 1}, "--data.vocabulary: 1"),
        ({"limit": 0}, "--data.limit: 0"),
    ],
)
def test_bad_settings(fields, message):
    with pytest.raises(UserError, match=message):
        TextConfig(**fields)
