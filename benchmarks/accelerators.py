"""The search step compiled for accelerators that are not there.

Command: python benchmarks/accelerators.py [--chip v5e a100] [--layers 8] [--json FILE]

XLA compiles a program for a TPU v5e or an A100 without one, from a description of the
chip, and says what the program costs. Builds the CIFAR-10 search steps that way; from
two batch sizes it computes the largest power of two whose step fits the chip's memory,
and compiles that one too, to be sure. Nothing is run and nothing is timed but the
compiler: every figure is the compiler's own.

It needs compilers that jdarts does not depend on, made for the installed jax (`pip
install "jax[tpu]"` and `"jax[cuda12]"` name the versions):

    pip install libtpu                                          # v5e
    pip install --no-deps jax-cuda12-plugin jax-cuda12-pjrt     # A100

Install them into a separate environment: jax would try the GPU plugin at every
start. With ``JAX_EXEC_TIME_OPTIMIZATION_EFFORT=-0.6`` the TPU compiler is many times as
fast, and makes other, slower programs.
"""

import argparse
import importlib.util
import itertools
import json
import math
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

# Before jax starts: compile only; ask no cloud service and no driver what is there.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TPU_SKIP_MDS_QUERY"] = "1"
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
if (libtpu := importlib.util.find_spec("libtpu")) and libtpu.origin:
    os.environ["TPU_LIBRARY_PATH"] = str(Path(libtpu.origin).with_name("libtpu.so"))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jaxlib import xla_client  # noqa: E402

import jdarts  # noqa: E402
from jdarts.cli import run_command  # noqa: E402
from jdarts.compile import compiler_options  # noqa: E402
from jdarts.nets.network import COMPUTE_DTYPES  # noqa: E402

STEPS = {
    "first order": {"name": "first_order"},
    "exact, forward": {"name": "unrolled", "mode": "forward"},
    "exact, reverse": {"name": "unrolled", "mode": "reverse"},
}

# What XLA wants to know of an A100-SXM4-80GB, after NVIDIA's A100 white paper and the
# limits of compute capability 8.0 in the CUDA C++ Programming Guide.
_A100 = """
gpu_device_info {
  cuda_compute_capability { major: 8 }
  core_count: 108  fpus_per_core: 64  clock_rate_ghz: 1.41
  memory_bandwidth: 2039000000000  device_memory_size: 85899345920
  l2_cache_size: 41943040
  threads_per_warp: 32  threads_per_block_limit: 1024  threads_per_core_limit: 2048
  thread_dim_limit_x: 1024  thread_dim_limit_y: 1024  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  shared_memory_per_block: 49152  shared_memory_per_block_optin: 166912
  shared_memory_per_core: 167936
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA A100-SXM4-80GB"
"""


class Chip(NamedTuple):
    """An accelerator to compile for.

    Attributes:
      package: the distribution that compiles for it.
      memory: bytes on the chip.
      topology: arguments of jax's ``get_topology_desc``.
      options: XLA options.
    """

    package: str
    memory: int
    topology: dict[str, Any]
    options: dict[str, Any]


CHIPS = {
    "v5e": Chip(
        package="libtpu",
        memory=16 * 10**9,
        topology={
            "platform": "tpu",
            "topology_name": "v5e:1x1",
            "chips_per_host_bounds": (1, 1, 1),
            "num_slices": 1,
        },
        options=compiler_options("tpu"),
    ),
    "a100": Chip(
        package="jax-cuda12-plugin",
        memory=80 * 10**9,
        topology={
            "platform": "cuda",
            "topology_name": "a100",
            "topology": "1x1x1",
            "target_config": _A100,
        },
        # Choosing kernels by timing them would need the device.
        options=compiler_options("gpu") | {"xla_gpu_autotune_level": 0},
    ),
}


class Report(NamedTuple):
    """What the compiler says of a step.

    Attributes:
      flops: floating-point operations; None where they are inside library calls.
      bytes: read and written by all kernels.
      temp: bytes of memory for intermediate values.
      arguments: bytes of state and batches; the results take the state's place.
      trace_seconds: from Python to StableHLO.
      compile_seconds: from there to machine code.
    """

    flops: float | None
    bytes: float
    temp: int
    arguments: int
    trace_seconds: float
    compile_seconds: float

    @property
    def peak(self) -> int:
        """Bytes that must fit into the chip's memory."""
        return self.temp + self.arguments


def version(package: str) -> str:
    """The version of an installed package.

    Raises:
      UserError: if it is not installed.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise jdarts.UserError(
            f"--chip: '{package}' is not installed, which compiles for it; what to "
            f"install is at the head of {Path(__file__).name}"
        ) from None


def step_and_shapes(
    options: dict[str, Any], args: argparse.Namespace, dtype: str, remat: bool, n: int
) -> tuple[Any, tuple]:
    """The search step and the shapes of its arguments, for batches of n images."""
    space = jdarts.get_space(args.space)
    network = jdarts.supernet(
        space,
        channels=args.channels,
        layers=args.layers,
        classes=10,
        remat=remat,
        dtype=COMPUTE_DTYPES[dtype],
    )
    config = jdarts.DartsConfig(hypergradient=jdarts.HypergradientConfig(**options))
    method = jdarts.build_method(config, space, network, epochs=1, steps_per_epoch=100)

    def arguments() -> tuple:
        key, images = jax.random.key(0), jnp.zeros((n, 32, 32, 3))
        batch = jdarts.Batch(images, jnp.zeros(n, jnp.int32))
        train = jax.tree.map(lambda x: jnp.stack([x] * method.train_batches), batch)
        return key, method.init(key, images), jdarts.SearchBatches(train, batch)

    return method.step, jax.eval_shape(arguments)


def compile_for(chip: Chip, device: Any, step: Any, shapes: tuple) -> Report:
    """Compiles a step for a chip."""
    here = jax.sharding.SingleDeviceSharding(device)
    placed = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), shapes
    )
    start = time.perf_counter()
    jitted = jax.jit(step, donate_argnums=1, compiler_options=chip.options)
    lowered = jitted.lower(*placed)
    traced = time.perf_counter()
    compiled: Any = lowered.compile()
    done = time.perf_counter()
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    flops = cost["flops"] if cost else None
    if not cost:  # the GPU compiler tells no cost: count on the program that it made
        (program,) = compiled.runtime_executable().hlo_modules()
        client = jax.devices("cpu")[0].client
        cost = xla_client._xla.hlo_module_cost_analysis(client, program)
    return Report(
        flops,
        cost["bytes accessed"],
        memory.temp_size_in_bytes,
        memory.argument_size_in_bytes,
        traced - start,
        done - traced,
    )


def largest_batch(chip: Chip, first: Report, n: int, report: Any) -> int:
    """The largest power of two that fits: memory is affine in it, then checked.

    Args:
      chip: the chip.
      first: what a batch of n needs.
      n: the size of that batch.
      report: ``report(n) -> Report | None``; None where the compiler refuses the step
        for its memory.
    """
    second = report(2 * n)
    slope = (second.peak - first.peak if second else chip.memory) / n
    guess = (chip.memory - first.peak) / max(slope, 1.0) + n
    found = 2 ** int(math.log2(max(guess, 1)))
    if found in (n, 2 * n):  # compiled already
        return found
    for size in (found >> i for i in range(found.bit_length())):
        made = report(size)
        if made and made.peak <= chip.memory:
            return size
    return 0


def row_of(
    chip_name: str, device: Any, name: str, dtype: str, remat: bool, args: Any
) -> dict[str, Any]:
    """Everything that is recorded of one step."""
    chip = CHIPS[chip_name]

    def report(n: int) -> Report | None:
        try:
            step, shapes = step_and_shapes(STEPS[name], args, dtype, remat, n)
            return compile_for(chip, device, step, shapes)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return None

    made = report(args.batch)
    fits = None
    if made is None:
        raise jdarts.UserError(
            f"--batch: {args.batch} does not fit a {chip_name}; expected a smaller one"
        )
    if args.largest:
        fits = largest_batch(chip, made, args.batch, report)
    return {
        "name": f"{chip_name}, {name}, {dtype}, {'remat' if remat else 'no remat'}",
        "seconds": None,
        "ratio_to_torch": None,
        "trace_seconds": made.trace_seconds,
        "compile_seconds": made.compile_seconds,
        "peak_bytes": made.peak,
        "temp_bytes": made.temp,
        "argument_bytes": made.arguments,
        "flops": made.flops,
        "bytes": made.bytes,
        "largest_batch": fits,
        "effort": jax.config.values["jax_exec_time_optimization_effort"],
        "settings": {k: v for k, v in vars(args).items() if k != "json"},
        "jax": jax.__version__,
        "compiler": f"{chip.package} {version(chip.package)}",
        "python": platform.python_version(),
        "threads": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


def show(row: dict[str, Any]) -> None:
    figures = (
        f"{row['flops'] / 1e9:.0f}" if row["flops"] else "-",
        f"{row['bytes'] / 1e9:.1f}",
        f"{row['temp_bytes'] / 2**20:.0f}",
        f"{row['argument_bytes'] / 2**20:.0f}",
        f"{row['trace_seconds']:.0f}",
        f"{row['compile_seconds']:.0f}",
        "-" if row["largest_batch"] is None else str(row["largest_batch"]),
    )
    print_row(row["name"], *figures)


def print_row(name: str, *cells: str) -> None:
    print(f"{name:40}", *(f"{cell:>9}" for cell in cells), flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chip", nargs="+", default=list(CHIPS), choices=list(CHIPS))
    parser.add_argument("--space", default="darts_cnn")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument(
        "--only", nargs="+", default=list(STEPS), choices=list(STEPS), metavar="STEP"
    )
    parser.add_argument(
        "--dtype",
        nargs="+",
        default=list(COMPUTE_DTYPES),
        choices=list(COMPUTE_DTYPES),
    )
    parser.add_argument("--remat", nargs="+", default=["no"], choices=["no", "yes"])
    parser.add_argument(
        "--largest",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="find the largest batch that fits: two more compilations a row",
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    for name in args.chip:
        version(CHIPS[name].package)  # before anything is compiled
    head = ("GFLOP", "GB moved", "temp MiB", "arg MiB", "trace s", "compile s", "batch")
    print_row("step", *head)
    for name in args.chip:
        (device,) = topologies.get_topology_desc(**CHIPS[name].topology).devices
        choices = itertools.product(args.only, args.dtype, args.remat)
        for step, dtype, remat in choices:
            row = row_of(name, device, step, dtype, remat == "yes", args)
            show(row)
            if args.json:
                with args.json.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
