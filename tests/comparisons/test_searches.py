"""Which searches can be compared."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from runs import genotype, toy_config, write_search, write_seeds

from jdarts import UserError
from jdarts.comparisons.searches import read_searches
from jdarts.io.data_facts import DataFacts
from jdarts.methods.fair_darts import FairDartsConfig


def refused(*paths, **options):
    with pytest.raises(UserError) as error:
        read_searches(paths, **options)
    return str(error.value)


def test_one_and_several_seeds(tmp_path):
    one = write_search(tmp_path / "one", toy_config(seed=7), [genotype(0), genotype(1)])
    config = toy_config(seed=None, seeds=(3, 5))
    two = write_seeds(tmp_path / "two", config, [[genotype(2)], [genotype(3)]])
    found = read_searches([one, two])
    assert [s.seed for s in found] == [7, 3, 5]
    assert [s.path for s in found] == [one, two / "seed_3", two / "seed_5"]
    assert [s.genotype for s in found] == [genotype(1), genotype(2), genotype(3)]
    assert found[0].epochs == {1: genotype(0), 2: genotype(1)}
    assert {s.space for s in found} == {"toy"} and found[0].data.name == "digits"
    (alone,) = read_searches([two / "seed_5"])
    assert (alone.seed, alone.genotype) == (5, genotype(3))


def test_random_genotypes_follow_the_searchs_method_and_cap(tmp_path):
    config = toy_config(method=FairDartsConfig(threshold=0.99), max_skips=1)
    path = write_search(tmp_path / "fair", config, [genotype(0)])
    rng = np.random.default_rng(0)

    def connections():
        (search,) = read_searches([path])
        cells = [search.draw(rng).cells["normal"] for _ in range(200)]
        return [[c.primitive for c in cell.connections] for cell in cells]

    found = connections()
    assert max(own.count("skip_connect") for own in found) == 1
    assert np.mean([len(own) for own in found]) < 2
    # Perturbation has asked for each edge and node itself, whatever the method's rule.
    (path / "perturbation.json").write_text("{}")
    assert {len(own) for own in connections()} == {4}


def test_unfinished(tmp_path):
    one = write_search(
        tmp_path / "one", toy_config(), [genotype(0), genotype(1)], finished=False
    )
    text = refused(one)
    assert "one: the search is not finished (last epoch: 2 of 3)" in text
    assert "--allow-unfinished" in text
    (found,) = read_searches([one], allow_unfinished=True)
    assert found.genotype == genotype(1)
    empty = write_search(tmp_path / "empty", toy_config(), [], finished=False)
    assert "no genotype yet" in refused(empty, allow_unfinished=True)


def test_no_search(tmp_path):
    assert "nothing: no such folder" in refused(tmp_path / "nothing")
    assert "holds no config.json" in refused(tmp_path)


def test_given_twice(tmp_path):
    config = toy_config(seed=None, seeds=(3, 5))
    two = write_seeds(tmp_path / "two", config, [[genotype(2)], [genotype(3)]])
    assert "seed_3: given twice" in refused(two, two / "seed_3")
    assert "given twice" in refused(two / "seed_3", two / ".." / "two" / "seed_3")


@pytest.mark.parametrize(
    "change, part",
    [
        ({"space": "darts_cnn"}, "space 'darts_cnn', but"),
        ({"limit": 100}, "--data.limit 100, but"),
        ({"classes": 10}, "--data.classes 10, but"),
        ({"resize": (8, 8)}, "--data.resize (8, 8), but"),
        ({"split": "file_order"}, "--data.split file_order, but"),
        ({"dir": Path("x")}, "--data.dir x, but"),
    ],
)
def test_of_another_kind(tmp_path, change, part):
    config = toy_config()
    if "space" in change:
        other = dataclasses.replace(config, **change)
    else:
        data = dataclasses.replace(config.data, **change)
        other = dataclasses.replace(config, data=data)
    one = write_search(tmp_path / "one", config, [genotype(0)])
    two = write_search(tmp_path / "two", other, [genotype(0)])
    text = refused(one, two)
    assert f"two: {part}" in text and "one" in text


def test_augmentation_may_differ(tmp_path):
    config = toy_config()
    data = dataclasses.replace(config.data, cutout=2, valid_fraction=0.3)
    one = write_search(tmp_path / "one", config, [genotype(0)])
    other = dataclasses.replace(config, data=data)
    two = write_search(tmp_path / "two", other, [genotype(0)])
    assert len(read_searches([one, two])) == 2


def test_images_are_told_apart_by_what_they_are(tmp_path):
    """Not by where they lie, nor by an option that changes none of them."""
    config = toy_config()
    folders = []
    for name, digest in (("one", "a" * 64), ("two", "a" * 64), ("other", "b" * 64)):
        skips = name == "two"
        given = {"name": "image_folder", "dir": Path(name), "skip_damaged": skips}
        data = dataclasses.replace(config.data, **given)
        own = dataclasses.replace(config, data=data)
        folders.append(write_search(tmp_path / name, own, [genotype(0)]))
        DataFacts(("a", "b"), (8, 8, 3), digest).write(folders[-1])
    one, two, other = folders
    assert len(read_searches([one, two])) == 2
    assert "other: images bbbbbbbbbbbb, but " in refused(one, two, other)
    DataFacts(("a", "b"), (8, 8, 3)).write(two)  # of an earlier version
    assert "two: --data.dir two, but" in refused(one, two)
