"""The golden files are all there, as they were written: no pattern has lost one."""

import hashlib
import json

import pytest
from golden import FOLDER, OWN, absent


@pytest.mark.parametrize("folder", [FOLDER, OWN], ids=["all", "own"])
def test_as_the_manifest_has_them(folder):
    manifest = folder / "MANIFEST.json"
    if not manifest.exists():
        absent("golden", f"no {manifest}; set JDARTS_GOLDEN")
    listed = json.loads(manifest.read_text())
    assert listed and {path.name for path in folder.iterdir()} >= listed.keys()
    for name, row in listed.items():
        content = (folder / name).read_bytes()
        assert len(content) == row["bytes"], name
        assert hashlib.sha256(content).hexdigest() == row["sha256"], name
