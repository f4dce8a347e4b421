"""How the process of a command ends: in one line, with the right status.

The commands here do nothing, so that only the process is tested; what real ones do
when they are stopped is tested in `tests/loops`.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import jdarts
from jdarts import compile

ROOT = Path(jdarts.__file__).parents[1]
INTERRUPTED = "error: interrupted; what was saved before stays\n"
# A command whose `main` is given; it computes, so it would be started again with large
# pages were these not set.
SCRIPT = """
import gc, os, signal, sys, time, types
from jdarts.commands import COMMANDS, Command
from jdarts.entry import start
from jdarts.errors import UserError

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

def wait(hundredths=3000):
    for _ in range(hundredths):
        time.sleep(0.01)

{main}

sys.modules["of_a_test"] = types.SimpleNamespace(main=main)
COMMANDS["test"] = Command("of_a_test", "", computes=True, prints={prints})
sys.exit(start("test", sys.argv[1:]))
"""
# Before a command: a limit that is set, and high.
LIMIT = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))\n"
ENVIRONMENT = os.environ | {"GLIBC_TUNABLES": "glibc.x=1", "PYTHONPATH": str(ROOT)}


def command(main, prints=False):
    lines = "\n".join(f"    {line}" for line in main.strip().splitlines())
    text = SCRIPT.format(main=f"def main(arguments):\n{lines}", prints=prints)
    return [sys.executable, "-c", text]


def run(main, *, prints=False, **options):
    options = {"capture_output": True, "env": ENVIRONMENT, "timeout": 100} | options
    return subprocess.run(command(main, prints), **options)


# --- Ctrl-C ---


@pytest.mark.parametrize(
    "main",
    [
        "interrupt()\nwait()",
        # Where an error cannot be raised, Python prints and forgets it.
        "gc.callbacks.append(lambda phase, info: interrupt())\ngc.collect()\n"
        "gc.callbacks.clear()\nwait()",
        "class Late:\n    def __del__(self): interrupt(); wait()\nLate()\nwait()",
        # A library has made something else of it.
        "try:\n    interrupt(); wait()\nexcept BaseException:\n"
        "    raise RuntimeError('INTERNAL: CpuCallback error') from None",
        "try:\n    interrupt(); wait()\nexcept BaseException:\n"
        "    raise ImportError('numpy cannot be imported')",
        # While the error of a user is on its way.
        "try:\n    interrupt(); wait()\nfinally:\n    raise UserError('wrong')",
        # While a module is imported that may not survive it.
        "import importlib, os, tempfile\n"
        "folder = tempfile.mkdtemp()\nsys.path.append(folder)\n"
        "text = 'import __main__\\n__main__.interrupt()\\nimport _bisect'\n"
        "open(folder + '/imported.py', 'w').write(text)\n"
        "import imported\nassert imported._bisect\nwait()",
        # The same, by a user who means it: it does not wait for the module.
        "import os, tempfile\n"
        "folder = tempfile.mkdtemp()\nsys.path.append(folder)\n"
        "text = 'import __main__ as m\\nm.interrupt()\\nm.time.sleep(0.2)\\n'\n"
        "text += 'm.interrupt()\\nm.os.write(2, b\"imported\")'\n"
        "open(folder + '/imported.py', 'w').write(text)\nimport imported\nwait()",
        # In what cannot raise, twice.
        "class Late:\n    def __del__(self):\n        interrupt(); wait()\n"
        "Late()\ninterrupt()\nwait()",
        # The user means it.
        "try:\n    interrupt(); wait()\nfinally:\n    interrupt(); wait()",
        "try:\n    interrupt(); wait()\nexcept BaseException:\n    pass\n"
        "interrupt(); wait()",
    ],
)
def test_an_interrupt_is_one_line_wherever_it_comes(main):
    done = run(main, text=True)
    assert (done.returncode, done.stderr) == (130, INTERRUPTED)


def test_an_interrupt_after_the_work_changes_nothing():
    """In what Python does before it ends."""
    main = "import atexit\natexit.register(interrupt)\nprint('done')\nreturn 0"
    done = run(main, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_an_ignored_interrupt_stays_ignored():
    """Of a job in the background of a script."""
    ignore = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code = command("interrupt()\nprint('done')\nreturn 0")
    code[-1] = ignore + code[-1]
    done = subprocess.run(code, capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


REAL = """
import sys
print("ready", flush=True)
from jdarts.__main__ import main
sys.exit(main("search smoke --channels 2 --layers 1 --data.limit 64 "
    "--batch-size 8".split() + ["--run-dir", sys.argv[1]]))
"""


@pytest.mark.parametrize("number", range(5))
def test_an_interrupt_at_any_moment(tmp_path, number):
    """While jax is imported, mostly; later the search reads, traces and compiles."""
    process = subprocess.Popen(
        [sys.executable, "-c", REAL, tmp_path / "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | {"JDARTS_NATIVE": "0", "JAX_COMPILATION_CACHE_DIR": ""},
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(random.Random(number).uniform(0.1, 0.6) * (1 + 2 * number))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 130
    saved = "stopped by a signal" in out  # it was searching already
    assert err == ("" if saved else INTERRUPTED)


# --- output ---


BUFFERED = {n: v for n, v in ENVIRONMENT.items() if n != "PYTHONUNBUFFERED"}


def into_nobody(*arguments, environment=BUFFERED):
    """Runs a command whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        return subprocess.run(
            arguments, stdout=pipe, stderr=-1, text=True, env=environment, cwd=ROOT
        )


@pytest.mark.parametrize(
    "arguments",
    [
        "jdarts",
        "jdarts --help",
        "jdarts --version",
        "jdarts methods",
        "jdarts completion --help",
        "jdarts search --help",
        "jdarts.methods",
    ],
)
def test_a_reader_that_has_gone_is_no_error(arguments):
    for environment in (BUFFERED, BUFFERED | {"PYTHONUNBUFFERED": "1"}):
        command = [sys.executable, "-m", *arguments.split()]
        done = into_nobody(*command, environment=environment)
        assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("end", ["return 0", "raise SystemExit"])
def test_a_reader_that_has_gone(size, end):
    """Little is written at the end only, much at once."""
    done = into_nobody(*command(f"print('x' * {size})\n{end}"))
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("prints", [False, True])
def test_a_full_disk_is_said_once_and_ends_nothing(tmp_path, prints):
    main = (
        "for i in range(3): print('x' * 5000, flush=True)\n"
        f"open({str(tmp_path / 'result')!r}, 'w').write('found')\nreturn 0"
    )
    with open("/dev/full", "w") as full:
        done = run(main, prints=prints, stdout=full, stderr=-1, capture_output=False)
    assert (tmp_path / "result").read_text() == "found"
    assert done.stderr.decode() == (
        "warning: standard output cannot be written (No space left on device); going "
        "on without it\n"
    )
    assert done.returncode == (1 if prints else 0)  # what was printed was the result


@pytest.mark.parametrize("way", ["-u", "PYTHONUNBUFFERED"])
def test_unbuffered(way):
    """What is printed is there at once: it outlives a process that is killed."""
    code = command("print('said')\nos.kill(os.getpid(), signal.SIGKILL)")
    environment = dict(BUFFERED)
    if way == "-u":
        code.insert(1, way)
    else:
        environment[way] = "1"
    done = subprocess.run(code, stdout=-1, env=environment)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"said\n")


@pytest.mark.parametrize("prints", [False, True])
@pytest.mark.parametrize("closed", ["1", "2", "0 1 2"])
def test_closed_streams(tmp_path, closed, prints):
    """A file that is opened later does not become the standard output."""
    file = tmp_path / "result"
    main = (
        f"file = open({str(file)!r}, 'w')\nprint('lost', flush=True)\n"
        "print('lost', file=sys.stderr)\nos.write(1, b'lost')\n"
        "print('lost')\nfile.write('found')\nreturn 0"
    )
    shut = " ".join(f"{number}>&-" for number in closed.split())
    shell = ["sh", "-c", f'"$@" {shut}', "sh", *command(main, prints)]
    done = subprocess.run(shell, env=ENVIRONMENT, capture_output=True)
    lost = prints and "1" in closed  # what was printed was the result
    assert done.returncode == lost and file.read_text() == "found"
    said = (
        b"warning: standard output cannot be written (Bad file descriptor); going on "
        b"without it\nlost\n"
    )
    assert done.stderr == {"1": said, "2": b"", "0 1 2": b""}[closed]


@pytest.mark.parametrize("prints", [False, True])
def test_a_closed_output_that_nobody_needs(prints):
    shell = ["sh", "-c", '"$@" >&-', "sh", *command("return 0", prints)]
    done = subprocess.run(shell, env=ENVIRONMENT, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_that_nobody_can_read(option):
    shell = ["sh", "-c", '"$@" >&-', "sh", sys.executable, "-m", "jdarts", option]
    done = subprocess.run(shell, env=ENVIRONMENT, capture_output=True, cwd=ROOT)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_written_by_its_number(encoding):
    main = "print('caf\\xe9 \\u2500 \\udcff')\nraise UserError('caf\\xe9 \\udcff')"
    environment = ENVIRONMENT | {"PYTHONIOENCODING": encoding}
    done = run(main, env=environment)
    letter = "café".encode(encoding, "backslashreplace")
    line = "\u2500".encode(encoding, "backslashreplace")
    assert done.returncode == 2
    assert done.stdout == letter + b" " + line + b" \\udcff\n"
    assert done.stderr == b"error: " + letter + b" \\udcff\n"


# --- what the code says ---


@pytest.mark.parametrize(
    "stop, status, said",
    [
        ("SystemExit", 0, ""),
        ("SystemExit(0)", 0, ""),
        ("SystemExit(3)", 3, ""),
        ("SystemExit('no such\\nthing')", 1, "error: no such thing\n"),
        ("SystemExit('')", 1, "error: \n"),
        ("UserError('wrong')", 2, "error: wrong\n"),
    ],
)
def test_the_exit_status_and_its_reason(stop, status, said):
    done = run(f"raise {stop}", text=True)
    assert (done.returncode, done.stderr) == (status, said)


# --- what the machine refuses ---


@pytest.mark.parametrize(
    "raised, said",
    [
        ("OSError(28, 'No space left on device')", "the disk is full"),
        ("OSError(24, 'Too many open files')", "too many open files (ulimit -n)"),
        ("OSError(12, 'Cannot allocate memory')", "too little memory"),
        ("BlockingIOError(11, 'busy')", "no more processes or threads"),
        ('RuntimeError("can\'t start new thread")', "no more processes or threads"),
        ("MemoryError()", "too little memory (MemoryError)"),
        ("RuntimeError('std::bad_alloc')", "too little memory (std::bad_alloc)"),
        (
            "ImportError('libx.so: failed to map segment from shared object')",
            "too little memory (libx.so: failed to map",
        ),
        ("RuntimeError('RESOURCE_EXHAUSTED: Out of memory')", "--batch-size"),
    ],
)
def test_what_runs_out_is_said_in_one_line(raised, said):
    done = run(f"raise {raised}", text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert said in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
@pytest.mark.parametrize("mebibytes", [60, 200, 400])
def test_a_limit_of_memory_is_one_line(mebibytes):
    """Too little even to import jax."""
    limited = ["sh", "-c", f'ulimit -v {mebibytes * 1024}; exec "$@"', "sh"]
    done = subprocess.run(
        [*limited, sys.executable, "-m", "jdarts", "search", "--helo"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert re.search("too little memory|MiB of memory, .* too little", done.stderr)


def test_a_native_death_is_one_line():
    """XLA, LLVM, OpenBLAS and the C++ library end the process where they get no
    memory."""
    for death in (
        "os.write(2, b'OpenBLAS error: Memory allocation still failed after 9 retries')"
        "\nos._exit(1)",
        "os.abort()",
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "os._exit(127)",
    ):
        code = command(f"os.write(2, b'terminate called: bad_alloc\\n')\n{death}")
        code[-1] = LIMIT + code[-1]
        done = subprocess.run(code, capture_output=True, text=True, env=ENVIRONMENT)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert "ulimit -v" in done.stderr


@pytest.mark.parametrize("refused", ["fork", "pipe"])
def test_where_nobody_can_watch(refused):
    """The work is done in the process itself, which keeps nothing open for it."""
    code = command(
        "print(sorted(os.listdir('/dev/fd')) == OPEN and os.getpid())\nreturn 0"
    )
    code[-1] = LIMIT + (
        "import os\ndef refuse(): raise BlockingIOError(11, 'busy')\n"
        f"os.{refused} = refuse\nOPEN = sorted(os.listdir('/dev/fd'))\n{code[-1]}"
    )
    process = subprocess.Popen(code, stdout=-1, stderr=-1, text=True, env=ENVIRONMENT)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out, err) == (0, f"{process.pid}\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_a_process_with_a_limit(number):
    """It is the child of the one that the user knows."""
    code = command("print(os.getpid(), flush=True)\nwait()")
    code[-1] = LIMIT + code[-1]
    process = subprocess.Popen(code, stdout=-1, stderr=-1, text=True, env=ENVIRONMENT)
    child = int(process.stdout.readline())
    assert child != process.pid
    process.send_signal(number)
    _, err = process.communicate(timeout=100)  # also the child's ends are closed then
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
    assert process.returncode == expected[number]
    assert err == (INTERRUPTED if number == signal.SIGINT else "")


def test_a_signal_reaches_a_process_that_is_ready_before_its_watcher():
    code = command("print('ready', flush=True)\nwait()")
    code[-1] = LIMIT + (
        "import os, time\nfork = os.fork\ndef late():\n    child = fork()\n"
        f"    if child: time.sleep(3)\n    return child\nos.fork = late\n{code[-1]}"
    )
    process = subprocess.Popen(code, stdout=-1, stderr=-1, text=True, env=ENVIRONMENT)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (143, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("stops", [True, False])
def test_a_signal_to_all_processes_is_one(number, stops):
    """As a terminal, systemd and Slurm send it: to who watches and to who works."""
    main = "print('ready', flush=True)\nwait()"
    if stops:
        main = (
            "from jdarts.loops.stop import StopRequest\nwith StopRequest() as stop:\n"
            "    print('ready', flush=True)\n    while not stop.signal: wait(1)\n"
            "    wait(50)\n    print('saved')\n    return stop.exit_status"
        )
    code = command(main)
    code[-1] = LIMIT + code[-1]
    process = subprocess.Popen(
        code, stdout=-1, stderr=-1, text=True, env=ENVIRONMENT, start_new_session=True
    )
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 128 + number
    assert out == ("saved\n" if stops else "")
    assert err == (INTERRUPTED if number == signal.SIGINT and not stops else "")


def test_a_user_without_a_home(tmp_path, monkeypatch, caplog):
    """Neither HOME nor an entry in the table of users."""

    def unknown(number):
        raise KeyError(number)

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    compile._cache_without_home.cache_clear()
    try:
        own = tmp_path / f"jdarts-cache-{os.getuid()}"
        assert compile.cache_folder().parent == own / "jdarts"
        assert compile.cache_folder().parent == own / "jdarts"
        assert own.stat().st_mode & 0o777 == 0o700
        assert caplog.text.count("no home folder") == 1
    finally:
        compile._cache_without_home.cache_clear()
