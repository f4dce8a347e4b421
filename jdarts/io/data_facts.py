"""What the images of a run were: ``data.json`` in its folder."""

import dataclasses
from pathlib import Path
from typing import Any

from jdarts.errors import UserError
from jdarts.io.files import read_json, write_json
from jdarts.io.run_folder import PART_FILE

__all__ = ["DataFacts"]

_FILE = "data.json"


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What networks for some images depend on, and what their classes are called.

    Attributes:
      classes: one name a class, in label order.
      image: ``(height, width, channels)`` of every image.
    """

    classes: tuple[str, ...]
    image: tuple[int, int, int]

    @classmethod
    def of(cls, images: Any) -> "DataFacts":
        """Those of a loaded `jdarts.data.Images`."""
        return cls(tuple(images.class_names), tuple(images.image_shape))

    @classmethod
    def read(cls, run: Path) -> "DataFacts | None":
        """Those of the run in that folder, which may be a part of another run; None
        where there are none, as of texts.

        Raises:
          UserError: if the file is damaged.
        """
        file = run / _FILE
        if not file.exists() and (run / PART_FILE).exists():
            file = run.absolute().parent / _FILE
        return cls._parse(read_json(file), file) if file.exists() else None

    @classmethod
    def _parse(cls, data: Any, file: Path) -> "DataFacts":
        try:
            classes, image = data["classes"], data["image"]
            names = isinstance(classes, list) and all(type(c) is str for c in classes)
            sizes = isinstance(image, list) and all(type(n) is int for n in image)
            if names and classes and sizes and len(image) == 3 and min(image) > 0:
                return cls(tuple(classes), tuple(image))
        except (KeyError, TypeError):
            pass
        raise UserError(
            f'{file}: not a description of images; expected {{"classes": [NAME, ...], '
            '"image": [HEIGHT, WIDTH, CHANNELS]}'
        )

    def write(self, run: Path) -> None:
        """Writes them to the folder of a run.

        Raises:
          UserError: if that fails.
        """
        write_json(run / _FILE, dataclasses.asdict(self))
