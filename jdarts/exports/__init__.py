"""Exports: a trained network for programs that do not know jdarts."""

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jdarts.errors import RunError, UserError
from jdarts.exports.onnx_file import OPSET, run_onnx, to_onnx
from jdarts.exports.stablehlo import PLATFORMS, run_stablehlo, to_stablehlo
from jdarts.exports.trained import Trained, load_trained
from jdarts.exports.weights import named_weights, read_weights, trees
from jdarts.io import read_json, write_atomic, write_json
from jdarts.phase import phased

__all__ = [
    "FORMATS",
    "TOLERANCE",
    "Format",
    "Trained",
    "load_trained",
    "named_weights",
    "read_weights",
    "trees",
    "write_exports",
]

TOLERANCE = 1e-4
"""Largest difference of logits, relative to the largest one (absolute below 1): float32
sums in another order."""


class Format(NamedTuple):
    """A row of FORMATS.

    Attributes:
      file: its name.
      make: from a trained network to the file's content.
      run: from that and images to logits; None of what is no program.
      facts: what else to say about it.
    """

    file: str
    make: Callable[[Trained], bytes]
    run: Callable[[bytes, np.ndarray], np.ndarray] | None
    facts: dict[str, Any]


def _npz(trained: Trained) -> bytes:
    file = io.BytesIO()
    np.savez(file, **trained.network.weights)  # pyrefly: ignore
    return file.getvalue()


FORMATS: dict[str, Format] = {
    "npz": Format("weights.npz", _npz, None, {}),
    "jax": Format(
        "network.jax",
        lambda trained: to_stablehlo(trained.network, trained.image_shape),
        run_stablehlo,
        {"platforms": list(PLATFORMS), "jax": jax.__version__},
    ),
    "onnx": Format(
        "network.onnx",
        lambda trained: to_onnx(
            trained.network, trained.image_shape, trained.class_names
        ),
        run_onnx,
        {"opset": OPSET},
    ),
}


@phased("exporting and checking")
def write_exports(trained: Trained, formats: Sequence[str], folder: Path) -> list[Path]:
    """Makes the files, checks each on real images, and then writes all of them.

    A folder may hold earlier exports of the same network: what is not written again
    stays, and stays described.

    Args:
      trained: the network.
      formats: rows of FORMATS.
      folder: where to; made if it is not there.

    Returns:
      The files; the last one, ``export.json``, describes the others.

    Raises:
      UserError: if a package is missing, a primitive cannot be exported, the folder
        cannot be written, or would keep a file of another network.
      RunError: if a file's logits differ from the network's by more than TOLERANCE.
    """
    made = {name: FORMATS[name].make(trained) for name in dict.fromkeys(formats)}
    described = {name: _check(trained, name, made[name]) for name in made}
    description = _description(trained)
    before = _earlier(folder, description, described)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be created ({error.strerror})") from None
    files = []
    for name, content in made.items():
        files.append(folder / FORMATS[name].file)
        write_atomic(files[-1], content)
    files.append(folder / "export.json")
    write_json(files[-1], {**description, "files": before | described})
    return files


def _earlier(
    folder: Path, description: dict[str, Any], replaced: dict[str, Any]
) -> dict[str, Any]:
    """What the folder's ``export.json`` says of files that will stay."""
    record = folder / "export.json"
    if not record.exists():
        return {}
    data = read_json(record)
    files = data.get("files") if isinstance(data, dict) else None
    if not isinstance(files, dict):
        raise UserError(
            f"{record}: not the record of an export; expected what jdarts.export "
            "wrote, or another --out"
        )
    kept = {
        name: files[name]
        for name in FORMATS
        if name in files
        and name not in replaced
        and (folder / FORMATS[name].file).exists()
    }
    if kept and any(data.get(name) != now for name, now in description.items()):
        names = ", ".join(FORMATS[name].file for name in kept)
        raise UserError(
            f"{folder}: holds {names} of another network (export.json); expected "
            f"--formats {' '.join([*replaced, *kept])}, which replaces all, or another "
            "--out"
        )
    return kept


def _check(trained: Trained, name: str, content: bytes) -> dict[str, Any]:
    """What there is to say about a file, once it has given the network's logits."""
    row = FORMATS[name]
    facts = {"file": row.file, "bytes": len(content), **row.facts}
    if row.run is None:
        return facts
    worst = 0.0
    for count in (len(trained.images), 1):  # whole, and alone: any batch must do
        found = row.run(content, trained.images[:count])
        expected = trained.logits[:count]
        scale = max(1.0, float(np.abs(expected).max()))
        worst = max(worst, float(np.abs(found - expected).max()) / scale)
    if not worst <= TOLERANCE:
        raise RunError(
            f"{row.file}: its logits differ from the network's by {worst:.1e}, more "
            f"than {TOLERANCE:.0e}; nothing was written"
        )
    return facts | {"checked_images": len(trained.images), "difference": worst}


def _description(trained: Trained) -> dict[str, Any]:
    """What there is to say about the network, as JSON gives it back."""
    network, config = trained.network, trained.config
    digest = hashlib.sha256()
    for name, array in sorted(network.weights.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    described = {
        "training": trained.path.resolve().name,
        "seed": trained.seed,
        "genotype": network.genotype.to_json(),
        "channels": config.channels,
        "layers": config.layers,
        "stem": config.stem,
        "classes": int(trained.logits.shape[-1]),
        "class_names": list(trained.class_names),
        "images": {
            "shape": list(trained.image_shape),
            "type": "uint8",
            "mean": list(network.mean),
            "std": list(network.std),
        },
        "data": dataclasses.asdict(config.data)["name"],
        "weights_sha256": digest.hexdigest(),
    }
    return json.loads(json.dumps(described))
