"""Progress on a terminal and elsewhere."""

import io

import pytest
from helpers import Clock, Terminal

from jdarts.io import Progress


def test_plain_lines_at_most_every_few_seconds():
    stream, clock = io.StringIO(), Clock()
    with Progress("epoch 1/50", 19500, stream=stream, clock=clock) as progress:
        clock.now = 100.0  # compilation: not in the rate
        for i in range(1, 31):
            clock.now += 1.0
            progress.update(i * 2, f"train {i}", description=f"epoch {i}/50")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "epoch 1/50  step 2/19500  train 1"
    assert lines[1] == ("epoch 3/50  step 6/19500  2 steps/s  remaining 2h42m  train 3")
    epochs = [int(line.split()[1].split("/")[0]) for line in lines]
    assert epochs == [*range(1, 30, 2), 30]


def test_resumed_steps_are_not_in_the_rate():
    stream, clock = io.StringIO(), Clock()
    with Progress("x", 1100, start=1000, stream=stream, clock=clock) as progress:
        progress.update(1010)
        clock.now = 5.0
        progress.update(1020)
    assert stream.getvalue().splitlines()[-1] == (
        "x  step 1020/1100  2 steps/s  remaining 40s"
    )


def test_rate_is_recent():
    stream, clock = io.StringIO(), Clock()
    with Progress("x", 10_000, stream=stream, clock=clock, every=0) as progress:
        for step in range(0, 100):
            clock.now += 100.0
            progress.update(step)
        for step in range(100, 140):
            clock.now += 0.5
            progress.update(step)
    assert "  2 steps/s  " in stream.getvalue().splitlines()[-1]


def test_nothing_done_says_nothing_and_the_end_is_said_once():
    stream = io.StringIO()
    with Progress("x", 10, stream=stream):
        pass
    assert stream.getvalue() == ""
    with Progress("x", 10, stream=stream) as progress:
        progress.update(10, "done")
        progress.print("kept [bold]")
    assert stream.getvalue() == "x  step 10/10  done\nkept [bold]\n"


def test_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream, clock = Terminal(), Clock()
    with Progress("epoch 1/2", 100, stream=stream, clock=clock) as progress:
        progress.update(10, "loss [red]1.0")
        clock.now = 4.0
        progress.update(30, "loss [red]2.0")
        progress.print("a line that stays [x]")
    text = stream.getvalue()
    assert "\x1b[" in text and "a line that stays [x]" in text
    for part in ("epoch 1/2", "5 steps/s  remaining 14s  loss [red]2.0"):
        assert part in text
    assert text.endswith("\x1b[?25h")  # the cursor is back


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.2, "0s"), (59.6, "1m00s"), (185, "3m05s"), (7920, "2h12m"), (273600, "3d04h")],
)
def test_remaining_time(seconds, shown):
    stream, clock = io.StringIO(), Clock()
    with Progress("x", 2, stream=stream, clock=clock) as progress:
        progress.update(0)
        clock.now = seconds
        progress.update(1)
    assert stream.getvalue().splitlines()[-1].endswith(f"remaining {shown}")
