"""What goes on is said: with a clock that is set by hand, and by the thread."""

import contextlib
import io
import threading

import pytest
from helpers import Clock, Terminal

from jdarts import phase
from jdarts.phase import Phases


@pytest.fixture
def clock(monkeypatch):
    """Set by hand; nothing is said but when the test lets `tick` be called."""
    monkeypatch.setattr(Phases, "_watch", lambda self: None)
    return Clock()


def beats(phases, clock, seconds):
    """Lets time pass as the thread sees it."""
    for _ in range(4 * seconds):
        clock.now += 0.25
        phases.tick()


def test_what_is_short_is_not_said(clock):
    stream = io.StringIO()
    phases = Phases(stream, clock)
    for _ in range(20):
        with phases.phase("reading"):
            clock.now += 0.9
            phases.tick()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("seconds", [1, 2, 3, 7, 60])
def test_what_lasts_is_said_every_few_seconds_and_at_its_end(clock, seconds):
    stream = io.StringIO()
    phases = Phases(stream, clock)
    with phases.phase("compiling"):
        beats(phases, clock, seconds)
    first, *beaten, last = stream.getvalue().splitlines()
    assert first == "compiling ..."
    said = [int(line.split()[1]) for line in beaten]
    assert beaten == [f"compiling: {n} s ..." for n in said]
    times = [1, *said, seconds]
    assert all(b - a <= 3 for a, b in zip(times, times[1:], strict=False))
    assert last == f"compiling: {seconds:.1f} s"


def test_the_innermost_is_shown(clock):
    stream = io.StringIO()
    phases = Phases(stream, clock)
    with phases.phase("outer"):
        beats(phases, clock, 1)
        with phases.phase("inner"):
            beats(phases, clock, 1)
        beats(phases, clock, 2)
    assert stream.getvalue().splitlines() == [
        *("outer ...", "inner ...", "inner: 1.0 s"),
        "outer: 4.0 s",
    ]


def test_a_change_of_phase_is_no_silence(clock):
    """An outer phase is said, then a short one begins just before it is said again."""
    stream = io.StringIO()
    phases = Phases(stream, clock)
    with phases.phase("outer"):
        beats(phases, clock, 3)
        for _ in range(4):
            with phases.phase("inner"):
                for _ in range(3):
                    clock.now += 0.25
                    phases.tick()
    assert stream.getvalue().splitlines() == [
        *("outer ...", "inner ...", "inner: 0.8 s", "outer: 6.0 s"),
    ]


def test_an_error_ends_it(clock):
    phases = Phases(io.StringIO(), clock)
    with pytest.raises(ZeroDivisionError), phases.phase("dividing"):
        _ = 1 / 0
    beats(phases, clock, 5)
    assert phases._stream.getvalue() == ""


def test_on_a_terminal_it_is_one_line(clock):
    stream = Terminal()
    phases = Phases(stream, clock)
    with phases.phase("compiling"):
        beats(phases, clock, 5)
    text = stream.getvalue()
    assert text.count("\n") == 1
    shown = [line.strip() for line in text.split("\r\x1b[2K")[1:]]
    assert shown[0] == "compiling ..." and "compiling: 3 s ..." in shown
    assert shown[-1] == "compiling: 5.0 s"


def test_the_thread_says_it_while_the_main_thread_does_not_return():
    said = threading.Event()

    class Stream(io.StringIO):
        def write(self, text):
            said.set()
            return super().write(text)

    with Phases(Stream()).phase("waiting", first=0.0):
        assert said.wait(timeout=60)


def test_a_library_prints_nothing(capsys):
    with phase.phase("compiling", first=0.0):
        pass
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("begun", ["before", "inside", "both"])
def test_hidden_is_every_phase(clock, begun):
    stream = io.StringIO()
    phases = Phases(stream, clock)
    with contextlib.ExitStack() as around:
        if begun != "inside":
            around.enter_context(phases.phase("outer"))
            beats(phases, clock, 2)
        before = stream.getvalue()
        with contextlib.ExitStack() as inside:
            inside.enter_context(phases.hidden())
            with phases.hidden():
                beats(phases, clock, 5)
            if begun != "before":
                inside.enter_context(phases.phase("inner"))
            beats(phases, clock, 5)
        assert stream.getvalue() == before
    end = "outer: 12.0 s\n" if begun != "inside" else ""
    assert stream.getvalue() == before + end


def test_a_phase_of_a_terminal_makes_room(clock):
    """Its line is not left where a bar is drawn."""
    stream = Terminal()
    phases = Phases(stream, clock)
    with phases.phase("outer"):
        beats(phases, clock, 2)
        with phases.hidden():
            assert stream.getvalue().endswith("\r\x1b[2K")
            beats(phases, clock, 2)
            assert stream.getvalue().endswith("\r\x1b[2K")
        beats(phases, clock, 1)
        assert stream.getvalue().endswith("outer: 5 s ...")


def test_shown_and_hidden(clock):
    stream = io.StringIO()
    phase.show(stream)
    try:
        shown = phase._shown
        shown._clock = clock
        with phase.phase("before a bar"), phase.hidden():
            beats(shown, clock, 9)
            assert stream.getvalue() == ""
    finally:
        phase.show(None)
    with phase.hidden():  # where nothing is shown there is nothing to hide
        pass
