"""The golden files are all there, as they were written: no pattern has lost one."""

import hashlib
import json

from golden import FOLDER, files


def test_as_the_manifest_has_them():
    (manifest,) = files("MANIFEST.json")
    listed = json.loads(manifest.read_text())
    assert listed and {path.name for path in FOLDER.iterdir()} >= listed.keys()
    for name, row in listed.items():
        content = (FOLDER / name).read_bytes()
        assert len(content) == row["bytes"], name
        assert hashlib.sha256(content).hexdigest() == row["sha256"], name
