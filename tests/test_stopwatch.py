"""Timing, with a clock that the test turns."""

from jdarts.stopwatch import device_text, median_seconds


class Clock:
    """Every timed call takes the next of these seconds."""

    def __init__(self, *durations):
        self.now, self.durations, self.calls = 0.0, iter(durations), 0

    def call(self, *args):
        self.calls += 1
        self.now += next(self.durations)

    def __call__(self):
        return self.now


def test_warm_up_is_not_timed():
    clock = Clock(100, 100, 3, 1, 2)
    found = median_seconds(clock.call, warm_up=2, least=3, budget=0, clock=clock)
    assert found == 2 and clock.calls == 5


def test_calls_until_the_budget_is_spent():
    clock = Clock(1, *[0.25] * 4)
    assert median_seconds(clock.call, warm_up=1, least=2, budget=1, clock=clock) == 0.25
    assert clock.calls == 5


def test_device():
    assert device_text().startswith("cpu (") and device_text().endswith(" cores)")
