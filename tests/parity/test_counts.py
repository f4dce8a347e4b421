"""Counted parameters against those of the original networks."""

import json

from fixed_files import OTHER_NAMES
from golden import files

from jdarts import ZOO
from jdarts.nets.cost import NetworkShape, auxiliary_head, network_cost


def test_parameter_counts():
    (path,) = files("08_param_counts.json")
    rows = [r for r in json.loads(path.read_text()) if r["kind"].startswith("Network")]
    assert rows
    for row in rows:
        genotype = ZOO[OTHER_NAMES.get(row["genotype"], row["genotype"])]
        mobile = row["kind"] == "NetworkImageNet"
        sizes = row["C"], row["layers"], row["classes"]
        image, stem = ((224, 224, 3), "imagenet") if mobile else ((32, 32, 3), "cifar")
        shape = NetworkShape(*sizes, image, stem)
        count = sum(cost.parameters for cost in network_cost(genotype, shape))
        assert count == row["without_aux"], row
        if row["auxiliary"]:
            count += auxiliary_head(genotype, shape, 1).cost().parameters
        assert count == row["total"], row
