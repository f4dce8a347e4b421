"""Signals are noted once, and act as usual outside and the second time, if later."""

import os
import signal

import pytest

from jdarts.loops.stop import StopRequest

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def usual():
    """Signals that came through to the handler that was there before."""
    came, before = [], {}
    for number in NUMBERS:
        before[number] = signal.signal(number, lambda n, frame: came.append(n))
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("jdarts.loops.stop.time", clock)
    return clock


@pytest.mark.parametrize(
    "number, status", list(zip(NUMBERS, (143, 130, 129), strict=True))
)
def test_noted_once(usual, clock, number, status):
    with StopRequest() as stop:
        assert stop.signal is None and stop.exit_status == 0
        os.kill(os.getpid(), number)
        assert stop.signal == number and stop.exit_status == status
        assert usual == []
        for clock.now in (0.0, 0.01, 0.9):  # the same, from somebody else
            os.kill(os.getpid(), number)
            assert usual == []
        clock.now = 1.1
        os.kill(os.getpid(), number)  # the user means it
        assert usual == [number]
    os.kill(os.getpid(), number)
    assert usual == [number] * 2


def test_other_signal_is_still_noted(usual):
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM and usual == []


@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_ignored_stays_ignored(usual, number):
    """As ``nohup`` starts a command."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), number)
            assert stop.signal is None
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
