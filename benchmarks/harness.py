"""What the benchmarks share: arguments, timing in turn, tables, JSON rows."""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

import jax

from jdarts import UserError, get_space
from jdarts.cli import run_command, use_huge_pages
from jdarts.compile import Compiled

__all__ = [
    "Candidate",
    "JaxCandidate",
    "Parser",
    "Row",
    "TorchCandidate",
    "TorchProcess",
    "ask_child",
    "count",
    "fastest",
    "environment",
    "medians",
    "peak_bytes",
    "peak_resident_bytes",
    "print_table",
    "ratio",
    "run_script",
    "torch_kinds",
    "torch_process",
    "write_rows",
]


# --- arguments -----------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the options that scripts share.

    Args:
      doc: the script's docstring; its first line describes the script.
      **defaults: which of `batch`, `channels`, `layers`, `rounds`, `space` the script
        has, and their defaults.
    """

    _HELP = {
        "space": "search space",
        "batch": "images in a batch",
        "channels": "width of the first cells",
        "layers": "number of cells",
        "rounds": "times that each row is timed, each after a call that is not",
    }

    def __init__(self, doc: str | None, **defaults: Any) -> None:
        describe = (doc or "").splitlines()[0]
        super().__init__(description=describe, allow_abbrev=False)
        for name, default in defaults.items():
            kind = str if name == "space" else count
            text = f"{self._HELP[name]} (default {default})"
            self.add_argument(f"--{name}", type=kind, default=default, help=text)
        self.add_argument("--json", type=Path, help="append one JSON object a row")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """As `parse_args`.

        Raises:
          UserError: for an option that does not exist or a value out of range.
        """
        args = self.parse_args(argv)
        if hasattr(args, "space"):
            get_space(args.space)
        if args.json and not args.json.absolute().parent.is_dir():
            raise UserError(f"--json: {args.json}; expected a file in a folder that is")
        return args

    def add_torch(self) -> None:
        self.add_argument(
            "--no-torch", action="store_true", help="do not time PyTorch beside it"
        )

    def add_torch_compile(self, layouts: Sequence[str]) -> None:
        """Whether compiled PyTorch is timed as well, and layouts of images in memory.

        Args:
          layouts: those that are not chosen by hand.
        """
        self.add_argument(
            "--torch-compile",
            action="store_true",
            help="time torch.compile's steps, too (may compile for many minutes)",
        )
        self.add_argument(
            "--torch-layout",
            nargs="+",
            choices=("channels_last", "nchw"),
            default=list(layouts),
            help=f"of PyTorch's images (default {' '.join(layouts)})",
        )

    def add_child(self, **options: Any) -> None:
        """The option by which a script tells itself that it is to do one part."""
        self.add_argument(
            "--child", default=argparse.SUPPRESS, help=argparse.SUPPRESS, **options
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument "))


def count(text: str) -> int:
    """A whole number >= 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected a whole number >= 1")
    return int(text)


def run_script(main: Callable[[list[str]], int]) -> NoReturn:
    """Runs a script's `main` as jdarts runs its commands: huge pages, short errors."""
    use_huge_pages()
    sys.exit(run_command(main, sys.argv[1:]))


# --- candidates ----------------------------------------------------------------------


class Candidate(Protocol):
    """Something to be timed."""

    def seconds(self) -> float:
        """Does it once or more; the time of one."""
        ...


class JaxCandidate(NamedTuple):
    """A compiled function.

    Attributes:
      compiled: the function.
      arguments: of the function.
      steps: how often one call does the thing.
      calls: how often it is called each time.
    """

    compiled: Compiled
    arguments: tuple
    steps: int = 1
    calls: int = 1

    def seconds(self) -> float:
        start = time.perf_counter()
        for _ in range(self.calls):
            jax.block_until_ready(self.compiled.call(*self.arguments))
        return (time.perf_counter() - start) / (self.calls * self.steps)


class TorchCandidate(NamedTuple):
    """Something that a process with PyTorch has built, called `calls` times.

    Attributes:
      process: the process.
      number: which of the things there.
      calls: how often it is called each time.
      compile_seconds: of a thing that `torch.compile` compiles: its first call's time.
    """

    process: "TorchProcess"
    number: int
    calls: int = 1
    compile_seconds: float | None = None

    def seconds(self) -> float:
        reply = self.process.ask({"time": self.number, "calls": self.calls})
        return reply["seconds"]


class TorchProcess:
    """A process with PyTorch, asked for one thing at a time (`torch_worker.py`)."""

    def __init__(self) -> None:
        worker = Path(__file__).with_name("torch_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def make(self, kind: str, *, calls: int = 1, **options: Any) -> TorchCandidate:
        """Builds a thing: a row of the worker's MAKERS and its options."""
        reply = self.ask({"make": kind, "options": options})
        return TorchCandidate(self, reply["number"], calls, reply["compile_seconds"])

    def peak_bytes(self) -> int:
        """The most memory that the process has had."""
        return self.ask({"peak": True})["bytes"]

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=process.stdin, flush=True)
        line = process.stdout.readline()
        if not line:
            raise UserError(
                "PyTorch: its process ended (see above); expected an installation that "
                "works, or --no-torch"
            )
        return json.loads(line)

    def close(self) -> None:
        self._process.communicate()


def torch_kinds(args: argparse.Namespace) -> list[tuple[str, bool, str]]:
    """``(name, compiled, layout)`` of each way that PyTorch does a step."""
    kinds = {"torch": False} | ({"torch.compile": True} if args.torch_compile else {})
    return [
        (f"{name} {layout}", compiled, layout)
        for name, compiled in kinds.items()
        for layout in args.torch_layout
    ]


def fastest(seconds: dict[str, float], kind: str, step: str = "") -> float | None:
    """The least time of a kind, ``torch`` or ``torch.compile``, over its layouts."""
    own = [s for n, s in seconds.items() if n.startswith(f"{kind} ") and step in n]
    return min(own, default=None)


@contextlib.contextmanager
def torch_process(wanted: bool) -> Iterator[TorchProcess | None]:
    """The process; None if it is not wanted or PyTorch is not installed."""
    if wanted and importlib.util.find_spec("torch") is None:
        print(
            "PyTorch is not installed: no ratios (pip install 'jdarts[bench]')",
            file=sys.stderr,
        )
        wanted = False
    if not wanted:
        yield None
        return
    process = TorchProcess()
    try:
        yield process
    finally:
        process.close()


def ask_child(script: str, *arguments: str, **environment: str) -> dict[str, Any]:
    """Runs a script in a new process, with the arguments and variables.

    Returns:
      What it printed as its last line, a JSON object.

    Raises:
      UserError: if it failed; it has said why.
    """
    done = subprocess.run(
        [sys.executable, script, *arguments],
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": ""} | environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise UserError(
            f"{Path(script).name}: its process for '{' '.join(arguments)}' ended with "
            f"status {done.returncode} (see above), expected 0"
        )
    return json.loads(done.stdout.splitlines()[-1])


def peak_resident_bytes() -> int:
    """The most memory that this process has had."""
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes if sys.platform == "darwin" else 1024 * kibibytes


def medians(candidates: dict[str, Any], rounds: int) -> dict[str, float]:
    """Seconds of each candidate: medians over rounds, all in turn in every round.

    So a change of the machine's speed meets all alike. Each timed call follows one that
    is not timed, as in a search, where nothing else comes between: after a pause a
    virtual machine may have to give a process its memory again.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            candidate.seconds()
            times[name].append(candidate.seconds())
    return {name: statistics.median(found) for name, found in times.items()}


def peak_bytes(compiled: Compiled) -> int | None:
    """Memory that a call needs: arguments, results and what lies between."""
    memory = compiled.call.memory_analysis()  # type: ignore
    if memory is None:
        return None
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )


# --- results -------------------------------------------------------------------------


class Row(NamedTuple):
    """One result; None where there is no such figure.

    Attributes:
      name: what was measured.
      seconds: median.
      ratio_to_torch: PyTorch's seconds over these.
      trace_seconds: from Python to StableHLO.
      compile_seconds: from there to machine code.
      peak_bytes: memory.
      extra: the script's own figures.
    """

    name: str
    seconds: float | None = None
    ratio_to_torch: float | None = None
    trace_seconds: float | None = None
    compile_seconds: float | None = None
    peak_bytes: int | None = None
    extra: dict[str, Any] = {}  # noqa: RUF012 (never changed)


def ratio(seconds: float | None, ours: float | None) -> float | None:
    """How many times as long the other takes."""
    return seconds / ours if seconds is not None and ours else None


def environment() -> dict[str, Any]:
    """What a figure depends on, but for the command."""
    names = ("jdarts", "jax", "jaxlib", "torch")
    return {
        "versions": {name: _version(name) for name in names}
        | {"python": platform.python_version()},
        "cpu": _cpu(),
        "device": jax.devices()[0].device_kind,
        "threads": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def write_rows(rows: Sequence[Row], args: argparse.Namespace) -> None:
    """Appends the rows to ``args.json``, if there is one."""
    if args.json is None:
        return
    settings = {k: v for k, v in vars(args).items() if k != "json"}
    common = {"settings": settings, **environment()}
    with args.json.open("a") as file:
        for row in rows:
            fields = row._asdict()
            extra = fields.pop("extra")
            file.write(json.dumps(fields | extra | common, default=str) + "\n")


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns as wide as they must be; numbers with three digits, None as a dash."""
    lines = [list(headers), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        cells = (f"{c:>{w}}" for c, w in zip(rest, widths[1:], strict=True))
        print(f"{first:{widths[0]}}", *cells, sep="  ")


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:#.3g}".rstrip(".")
