"""Image files in one folder a class."""

import os
from collections.abc import Iterator
from pathlib import Path

from jdarts.data.base import DataConfig, RawImages, some
from jdarts.data.image_files import PART_NAMES, Labelled, read_parts
from jdarts.data.pictures import is_picture, picture_suffixes
from jdarts.errors import UserError

__all__ = ["load"]

_MOST_ENTRIES = 10_000_000  # a folder of more is not one of images


def load(config: DataConfig) -> RawImages:
    """Reads ``dir/train/CLASS/**``, ``dir/val/CLASS/**`` and ``dir/test/CLASS/**``, of
    which ``train`` may be missing where ``test`` is there; or ``dir/CLASS/**``.

    Whatever Pillow reads by itself is read, also in folders within the folder of a
    class, and becomes RGB. Hidden files and folders (whose names begin with a dot),
    other files and whatever lies outside of the class folders are left out, which the
    notes say. A folder that has nothing but one folder of parts is gone through; so is
    one within a part that is called like a part again.

    Raises:
      UserError: if there is no image or no class, a class has no images, or an image
        cannot be read or differs from the first in size; it names the file or folder;
        or there is only one class.
    """
    root = config.dir
    assert root is not None  # checked by jdarts.data.load
    if not root.is_dir():
        raise UserError(f"{root}: is a file; expected a folder of class folders")
    walk = _Walk(root)
    roots = _roots(_within(root, walk), walk)
    first = roots.get("train") or roots["test"]
    class_names = tuple(path.name for path in walk.folders(first))
    if not class_names:
        raise UserError(
            f"{first}: has no folders; expected one folder of images a class"
        )
    if len(class_names) == 1:
        raise UserError(
            f"{first}: has one class ({class_names[0]!r}); expected two or "
            f"more; the class folders may be in {class_names[0]}"
        )
    parts = {
        part: walk.images(path, class_names, first.name) for part, path in roots.items()
    }
    return read_parts(config, parts, class_names, walk.notes())


def _part(folder: Path) -> str | None:
    """The part that a folder is called after."""
    own = (p for p, names in PART_NAMES.items() if folder.name.lower() in names)
    return next(own, None)


def _within(root: Path, walk: "_Walk") -> Path:
    """The folder of the parts: `root`, or what is alone in it and holds them."""
    here = root
    while len(folders := walk.folders(here)) == 1 and not _part(folders[0]):
        here = folders[0]
        parts = [_part(f) for f in walk.folders(here) if walk.folders(f)]
        if {"train", "test"} & {*parts}:
            walk.go_through(root, here)
            return here
    return root


def _roots(root: Path, walk: "_Walk") -> dict[str, Path]:
    """The folder of each part, of which ``train`` or ``test`` is one; only ``train``
    if the class folders are in `root`."""
    folders = walk.folders(root)
    roots: dict[str, Path] = {}
    for part in PART_NAMES:
        found = [path for path in folders if _part(path) == part]
        if len(found) > 1:
            raise UserError(
                f"{root}: has {' and '.join(path.name for path in found)}; expected "
                f"one folder for the part {part}"
            )
        if found:
            roots[part] = found[0]
    if not any(walk.folders(path) for path in roots.values()):
        # Classes that are called so, unless nothing else is there.
        if len(folders) > len(roots):
            roots = {}
    if not roots:
        return {"train": root}
    if not {"train", "test"} & roots.keys():
        other = next(iter(roots.values())).name
        raise UserError(f"{root / 'train'}: missing; expected it beside {other}")
    walk.leave([path for path in folders if path not in roots.values()])
    walk.leave_files(root)
    for part, path in roots.items():
        while [_part(folder) for folder in walk.folders(roots[part])] == [part]:
            roots[part] = walk.folders(roots[part])[0]
            walk.go_through(path, roots[part])
    return roots


class _Walk:
    """Goes through folders and keeps what was left out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._outside: list[Path] = []
        self._hidden: list[Path] = []
        self._others: list[Path] = []
        self._again: list[Path] = []
        self._through: list[str] = []
        self._entries = 0
        self._suffixes = picture_suffixes()

    def folders(self, folder: Path) -> list[Path]:
        """The visible folders in a folder, sorted by name."""
        return sorted(p for p in folder.iterdir() if p.is_dir() and not _hidden(p))

    def go_through(self, start: Path, end: Path) -> None:
        """Notes where the folders are, if not where they were looked for."""
        self._through.append(f"{end.relative_to(start)} of {start.name} is read")

    def leave(self, folders: list[Path]) -> None:
        """Notes folders that are neither a part nor a class."""
        self._outside += folders

    def leave_files(self, folder: Path) -> None:
        """Notes the files in a folder of classes or parts, and what is hidden there."""
        found = sorted(folder.iterdir())
        self._hidden += [p for p in found if _hidden(p)]
        self._outside += [p for p in found if not (_hidden(p) or p.is_dir())]

    def images(
        self, part: Path, class_names: tuple[str, ...], known: str
    ) -> list[Labelled]:
        """Every image below the class folders of a part, sorted; the part `known` has
        all of the classes."""
        items = []
        self.leave_files(part)
        for folder in self.folders(part):
            if folder.name not in class_names:
                raise UserError(
                    f"{folder}: no such class in {known}; expected one of "
                    f"{some(class_names, 20)}"
                )
            found = sorted(self._below(folder))
            if not found:
                raise UserError(
                    f"{folder}: has no images; expected at least one file that Pillow "
                    "reads (PNG, JPEG, TIFF, ...)"
                )
            label = class_names.index(folder.name)
            items += [Labelled(str(path), path, label) for path in found]
        return items

    def _below(self, folder: Path) -> Iterator[Path]:
        """Every image in a folder and the folders in it."""
        seen, waiting = set(), [folder]
        while waiting:
            here = waiting.pop()
            status = here.stat()
            if (status.st_dev, status.st_ino) in seen:  # a link that leads back
                self._again.append(here)
                continue
            seen.add((status.st_dev, status.st_ino))
            for name in sorted(os.listdir(here)):
                path = here / name
                self._count()
                if _hidden(path):
                    self._hidden.append(path)
                elif path.is_dir():
                    waiting.append(path)
                elif path.suffix.lower() in self._suffixes or is_picture(path):
                    yield path
                else:
                    self._others.append(path)

    def _count(self) -> None:
        self._entries += 1
        if self._entries > _MOST_ENTRIES:
            raise UserError(
                f"{self.root}: has more than {_MOST_ENTRIES:,} files; expected a "
                "folder of images"
            )

    def notes(self) -> list[str]:
        """What was left out, in words."""
        kinds = {
            "files that are no images": self._others,
            "hidden": self._hidden,
            "outside of the folders of classes": self._outside,
            "folders met before": self._again,
        }
        return self._through + [
            f"left out, {what}: {self._some(paths)}"
            for what, paths in kinds.items()
            if paths
        ]

    def _some(self, paths: list[Path]) -> str:
        names = [str(path.relative_to(self.root)) for path in paths]
        return f"{len(paths):,} ({some(names, 3)})"


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__MACOSX"
