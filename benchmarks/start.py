"""What passes between a command and its first step: cold and warm, by part.

Command: python benchmarks/start.py [--rounds 1] [--against PYTHON] [--json FILE]

`help` is `python -m jdarts.search --help`. `kernels` is what a C++ compiler takes to
build, by themselves, the CPU kernels of a search on images. `first step` is the time
from the start of the search's process to its first step; `trace` (with lowering) and
`compile` are what its own record tells of the search step's program. Cold: with an
empty cache folder (`XDG_CACHE_HOME`), as after a fresh install; warm: with what the
cold start left there. `CPU s` is the time of all processors, compilers included, which
other work on the machine disturbs less.

With `--against`, a Python that has another jdarts installed (`/elsewhere/bin/python`)
does the same in turn, and `ratio` is our time over its time. Both run in an empty
folder, so that each takes the jdarts that is installed for it.
"""

import contextlib
import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from harness import Parser, Row, print_table, ratio, run_script, write_rows

from jdarts import UserError

_KERNELS = """
import time
from jdarts.ops import native
begin = time.perf_counter()
assert native.available(), "no C++ compiler"
print(time.perf_counter() - begin)
"""
_PARTS = ("help", "kernels", "trace", "compile", "first step")
_FIRST_STEP = re.compile(r"\bstep \d+/\d+")
_EPOCH_END = re.compile(r"epoch 1/\d+:")


class Spent(NamedTuple):
    """Seconds of one part; `cpu` is None where it is not told apart."""

    wall: float
    cpu: float | None = None


def parser() -> Parser:
    parser = Parser(__doc__, rounds=1)
    parser.add_argument("--config", default="digits", help="of the search")
    parser.add_argument("--only", nargs="+", default=_PARTS, choices=_PARTS)
    parser.add_argument(
        "--against",
        type=Path,
        metavar="PYTHON",
        help="a Python with another jdarts: the same, in turn",
    )
    return parser


def run(command: list[str], folder: Path) -> tuple[Spent, str]:
    """Runs a command to its end; what it took, and its last line.

    Args:
      command: a program and its arguments.
      folder: where it runs; its `cache` is the command's.

    Raises:
      UserError: if it fails.
    """
    begin = time.perf_counter()
    with _started(command, folder) as process:
        lines = ["", *_lines(process)]
        wall, usage = time.perf_counter() - begin, _ended(process)
    if process.returncode:
        raise _failed(command, process)
    return Spent(wall, usage.ru_utime + usage.ru_stime), lines[-1]


def until_first_step(command: list[str], folder: Path) -> Spent:
    """What a search takes from its start to its first step.

    It goes on to the end of its first epoch, so that all of its programs are in the
    cache, and is killed there.

    Args:
      command: of the search.
      folder: where it runs; its `cache` is the command's.

    Raises:
      UserError: if it ends before.
    """
    begin, spent = time.perf_counter(), None
    with _started(command, folder) as process:
        for line in _lines(process):
            if spent is None and _FIRST_STEP.search(line):
                spent = Spent(time.perf_counter() - begin, _cpu_seconds(process.pid))
            if spent is not None and _EPOCH_END.match(line):
                return spent
        _ended(process)
    raise _failed(command, process)


@contextlib.contextmanager
def _started(command: list[str], folder: Path) -> Iterator[subprocess.Popen]:
    """A process that does not outlive the block, nor does what it started."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(folder / "cache"),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            _kill_session(process.pid)
            _ended(process)
        _lines(process).close()


def _kill_session(leader: int) -> None:
    """All of its groups: a search's compilers have their own."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            _, _, _, session, *_ = file.read_text().rpartition(")")[2].split()
            if int(session) == leader:
                os.kill(int(file.parent.name), signal.SIGKILL)


def _lines(process: subprocess.Popen) -> IO[str]:
    """What it prints."""
    assert process.stdout is not None
    return process.stdout


def _ended(process: subprocess.Popen) -> resource.struct_rusage:
    """Waits; what the process and its children have used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def _failed(command: list[str], process: subprocess.Popen) -> UserError:
    return UserError(
        f"{' '.join(command[:4])}: ended with status {process.returncode} (see "
        "above), expected 0"
    )


def _cpu_seconds(pid: int) -> float | None:
    """Of a process and the children that it has waited for; None: unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    ticks = map(int, text.rpartition(")")[2].split()[11:15])
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def _environment(cache: Path) -> dict[str, str]:
    """This process's, but for the caches and what would lead to another jdarts."""
    left_out = ("JAX_COMPILATION_CACHE_DIR", "PYTHONPATH", "GLIBC_TUNABLES")
    own = {k: v for k, v in os.environ.items() if k not in left_out}
    return own | {"XDG_CACHE_HOME": str(cache), "PYTHONUNBUFFERED": "1"}


def measure(
    python: str, folder: Path, config: str, only: list[str]
) -> dict[str, Spent]:
    """One round: what each part took, by its name, ``PART`` or ``PART, cold``."""
    found: dict[str, Spent] = {}
    if "help" in only:
        found["help"], _ = run([python, "-m", "jdarts.search", "--help"], folder)
    if "kernels" in only:
        for temperature in ("cold", "warm"):
            spent, line = run([python, "-c", _KERNELS], folder / "kernels")
            # Of the whole process; its imports are in the warm one as well.
            found[f"kernels, {temperature}"] = spent._replace(wall=float(line))
    if {"trace", "compile", "first step"} & set(only):
        for temperature in ("cold", "warm"):
            name = folder / "search" / f"run_{temperature}"
            command = [python, "-m", "jdarts.search", config, "--run-dir", str(name)]
            spent = until_first_step(command, folder / "search")
            rows = map(json.loads, (name / "timing.jsonl").read_text().splitlines())
            made = next(row for row in rows if row["kind"] == "compile")
            parts = {
                "trace": Spent(made["trace_seconds"]),
                "compile": Spent(made["compile_seconds"]),
                "first step": spent,
            }
            found |= {f"{p}, {temperature}": s for p, s in parts.items() if p in only}
    return found


def medians(rounds: list[dict[str, Spent]]) -> dict[str, Spent]:
    """Of the rounds, by part."""
    found = {}
    for name in rounds[0]:
        walls = [one[name].wall for one in rounds]
        cpus = [cpu for one in rounds if (cpu := one[name].cpu) is not None]
        cpu = statistics.median(cpus) if cpus else None
        found[name] = Spent(statistics.median(walls), cpu)
    return found


def main(argv: list[str]) -> int:
    args = parser().parse(argv)
    pythons = {"ours": sys.executable}
    if args.against:
        if not os.access(args.against, os.X_OK):
            raise UserError(f"--against: {args.against}; expected a Python interpreter")
        pythons["against"] = str(args.against.absolute())
    rounds: dict[str, list[dict[str, Spent]]] = {who: [] for who in pythons}
    for _ in range(args.rounds):
        for who, python in pythons.items():
            with tempfile.TemporaryDirectory() as folder:
                for part in ("kernels", "search"):
                    (Path(folder) / part).mkdir()
                found = measure(python, Path(folder), args.config, args.only)
                rounds[who].append(found)
    found = {who: medians(each) for who, each in rounds.items()}
    rows = [
        _row(n, spent, found.get("against", {})) for n, spent in found["ours"].items()
    ]
    columns = {"CPU s": "cpu_seconds"}
    if args.against:
        columns |= {
            "against s": "against_seconds",
            "against CPU s": "against_cpu_seconds",
            "ratio": "ratio",
            "CPU ratio": "cpu_ratio",
        }
    print_table(
        ("start", "seconds", *columns),
        [(r.name, r.seconds, *(r.extra[c] for c in columns.values())) for r in rows],
    )
    write_rows(rows, args)
    return 0


def _row(name: str, ours: Spent, others: dict[str, Spent]) -> Row:
    extra: dict[str, float | None] = {"cpu_seconds": ours.cpu}
    if others:
        other = others[name]
        extra |= {
            "against_seconds": other.wall,
            "against_cpu_seconds": other.cpu,
            "ratio": ratio(ours.wall, other.wall),
            "cpu_ratio": ratio(ours.cpu, other.cpu),
        }
    return Row(name, ours.wall, extra=extra)


if __name__ == "__main__":
    run_script(main)
