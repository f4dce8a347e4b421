"""What the images of a run were: ``data.json`` in its folder."""

import dataclasses
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jdarts.errors import UserError, some
from jdarts.io.files import read_json, write_json
from jdarts.io.run_folder import PART_FILE

__all__ = ["DataFacts"]

_MOST = 2**20  # pixels of a side, and channels


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What networks for some images depend on, and what their classes are called.

    Attributes:
      classes: one name a class, in label order.
      image: ``(height, width, channels)`` of every image.
      digest: of the images and labels, see `jdarts.data.Images.digest`; None: of a run
        that was made before runs wrote it down.
    """

    classes: tuple[str, ...]
    image: tuple[int, int, int]
    digest: str | None = None

    @classmethod
    def of(cls, images: Any) -> "DataFacts":
        """Those of a loaded `jdarts.data.Images`."""
        names, shape = tuple(images.class_names), tuple(images.image_shape)
        return cls(names, shape, images.digest)

    @staticmethod
    def file(run: Path) -> Path:
        """Where a run has them."""
        return run / "data.json"

    @classmethod
    def read(cls, run: Path) -> "DataFacts | None":
        """Those of the run in that folder, which may be a part of another run; None
        where there are none, as of texts.

        Raises:
          UserError: if the file is damaged.
        """
        file = cls.file(run)
        if not file.exists() and (run / PART_FILE).exists():
            file = cls.file(run.absolute().parent)
        return cls._parse(read_json(file), file) if file.exists() else None

    @classmethod
    def _parse(cls, data: Any, file: Path) -> "DataFacts":
        try:
            classes, image = data["classes"], data["image"]
            names = isinstance(classes, list) and all(type(c) is str for c in classes)
            sizes = isinstance(image, list) and all(type(n) is int for n in image)
            digest = data.get("digest")
            names = names and (digest is None or type(digest) is str)
            sizes = sizes and len(image) == 3 and 0 < min(image) <= max(image) < _MOST
            if names and classes and sizes:
                return cls(tuple(classes), tuple(image), digest)
        except (KeyError, TypeError):
            pass
        raise UserError(
            f'{file}: not a description of images; expected {{"classes": [NAME, ...], '
            '"image": [HEIGHT, WIDTH, CHANNELS]}'
        )

    def check_classes(self, images: Any, run: Path) -> None:
        """Raises a UserError unless images have the same classes in the same order, so
        that a network's outputs mean the same. Beside real names the numbers from 0 say
        only how many there are, as in a file of arrays.

        Args:
          images: the loaded `jdarts.data.Images`.
          run: whose classes these are, for the error.
        """
        there, here = self.classes, tuple(images.class_names)
        numbers = tuple(map(str, range(len(there))))
        if here == there:
            return
        named = not all(name.isdecimal() for name in (*here, *there))
        if named and len(here) == len(there) and numbers in (here, there):
            return
        pairs = enumerate(zip_longest(here, there))
        i, (name, other) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
        raise UserError(
            f"{images.source}: has {len(here)} classes ({some(here)}), but {run} was "
            f"trained on {len(there)} ({some(there)}): number {i} is "
            f"{_quoted(name)}, not {_quoted(other)}; expected the same classes in the "
            "same order"
        )

    def write(self, run: Path) -> None:
        """Writes them to the folder of a run.

        Raises:
          UserError: if that fails.
        """
        facts = {n: v for n, v in dataclasses.asdict(self).items() if v is not None}
        write_json(self.file(run), facts)


def _quoted(name: str | None) -> str:
    return "missing" if name is None else f"'{name}'"
