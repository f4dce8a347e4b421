"""What a run reads and writes: its folder, checkpoints, records, drawings, progress."""

from jdarts.io.checkpoint import Checkpoints, Restored
from jdarts.io.dot import cell_dot
from jdarts.io.draw import (
    CELL_STYLE,
    cell_key,
    cell_svg,
    cell_text,
    cell_width,
    legible,
)
from jdarts.io.files import read_json, write_atomic, write_json
from jdarts.io.genotypes import (
    GenotypeLog,
    genotype_place,
    load_genotype,
    split_choice,
)
from jdarts.io.metrics import MetricsLog, read_metrics
from jdarts.io.progress import Progress
from jdarts.io.run_folder import RunFolder, hold
from jdarts.io.timing import Timing

__all__ = [
    "CELL_STYLE",
    "Checkpoints",
    "GenotypeLog",
    "MetricsLog",
    "Progress",
    "Restored",
    "RunFolder",
    "Timing",
    "cell_dot",
    "cell_key",
    "cell_svg",
    "cell_text",
    "cell_width",
    "genotype_place",
    "hold",
    "legible",
    "load_genotype",
    "read_json",
    "read_metrics",
    "split_choice",
    "write_atomic",
    "write_json",
]
