"""The numbers of the words of the Penn Treebank, where its files are at hand."""

import hashlib
import os
from pathlib import Path

import pytest
from golden import FOLDER, cases, load

from jdarts.data import TextConfig, columns, load_text

FILE = Path(os.environ.get("JDARTS_PTB", FOLDER.parent / "data" / "ptb.zip"))


@cases("09_ptb_corpus.npz")
def test_corpus(path):
    if not FILE.exists():
        pytest.skip(f"no Penn Treebank: {FILE} does not exist; set JDARTS_PTB")
    file, text = load(path), load_text(TextConfig("ptb", FILE))
    assert len(text.vocabulary) == file["vocab_size"]
    assert text.vocabulary.index("<eos>") == file["eos_id"]
    for part, tokens in text.parts.items():
        assert len(tokens) == file[f"{part}.length"]
        assert tokens[:300].tolist() == file[f"{part}.first"].tolist()
        assert tokens[-100:].tolist() == file[f"{part}.last"].tolist()
        digest = hashlib.sha256(tokens.astype("<i4").tobytes()).hexdigest()
        assert digest == str(file[f"{part}.sha256_int32_le"])
    table = columns(text.train, 256, 1, "train")
    assert table.shape == tuple(file["batchify256.shape"])
    assert table[:3].tolist() == file["batchify256.first_rows"].tolist()
