"""Reports as a browser shows them: on a telephone, a desk, and paper."""

import struct

import pytest
from browser import Browser, find

pytestmark = pytest.mark.skipif(find() is None, reason="no Chromium is installed")

NAMES = ("finished", "wide", "empty", "seeds", "retrained", "trainings", "comparison")
OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"
# What sticks out at the right, but for what scrolls by itself.
OVERFLOW = """[...document.querySelectorAll('body *')]
  .filter(e => !e.closest('.scroll') && !e.closest('svg')
    && e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map(e => e.outerHTML.slice(0, 80))"""
EMPTY = """[...document.querySelectorAll('svg, table, figure, dd, h1, h2')]
  .map(e => [e, e.getBoundingClientRect()])
  .filter(([e, r]) => r.width < 5 || r.height < 5)
  .map(([e, r]) => e.outerHTML.slice(0, 80))"""
# The smallest text inside charts, in pixels of the screen.
SMALLEST = """Math.min(...[...document.querySelectorAll('svg.chart text')].map(e =>
  parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a))"""
# WCAG contrast of each colour that text or lines have with the page's.
CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d');
  const rgb = color => { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
  const light = color => rgb(color).map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const ratio = color => { const own = light(color);
    return (Math.max(own, paper) + .05) / (Math.min(own, paper) + .05); };
  const all = (query, key) => [...new Set([...document.querySelectorAll(query)]
    .map(e => getComputedStyle(e)[key]))].map(ratio);
  return { text: Math.min(...all('body *:not(svg *)', 'color'),
             ...all('svg.chart text', 'fill')),
           lines: Math.min(...all('path.line', 'stroke')) };
})()"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(find(), tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.parametrize("width", [320, 360, 1280])
@pytest.mark.parametrize("name", NAMES)
def test_fits_the_screen(browser, reports, name, width):
    browser.view(width)
    browser.open(reports[name])
    browser.evaluate(OPEN_ALL)
    assert browser.evaluate("document.documentElement.clientWidth") == width
    assert browser.evaluate(OVERFLOW) == []
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.evaluate(EMPTY) == []


def test_charts_can_be_read_on_a_telephone(browser, reports):
    browser.view(360)
    browser.open(reports["wide"])
    assert browser.evaluate(SMALLEST) >= 7


def test_drawings_have_one_scale_and_say_that_they_scroll(browser, reports):
    scales = """[...document.querySelectorAll('svg.jdarts-cell')]
      .map(e => e.getScreenCTM().a)"""
    wider = "[...document.querySelectorAll('.drawing')].map(e => e.scrollWidth)"
    hint = "document.querySelector('.hint').getBoundingClientRect().height"
    for width, scrolls in ((390, True), (1280, False)):
        browser.view(width)
        browser.open(reports["wide"])
        found = browser.evaluate(scales)
        assert len(found) == 2 and found[0] == found[1] == 1  # text as large as drawn
        assert all((w > width) == scrolls for w in browser.evaluate(wider))
        assert (browser.evaluate(hint) > 0) == scrolls


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_fetched_and_nothing_fails(browser, reports, name):
    browser.view(1280)
    browser.open(reports[name])
    asked = [e for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    urls = [event["params"]["request"]["url"] for event in asked]
    assert [url for url in urls if not url.startswith("data:")] == [
        reports[name].resolve().as_uri()
    ]
    bad = ("Network.loadingFailed", "Runtime.exceptionThrown", "Log.entryAdded")
    assert not [event for event in browser.events if event["method"] in bad]


def test_light_and_dark(browser, reports):
    seen = {}
    for scheme in ("light", "dark"):
        browser.view(1280, scheme=scheme)
        browser.open(reports["wide"])
        seen[scheme] = browser.evaluate(BACKGROUND), browser.screenshot()
        contrast = browser.evaluate(CONTRAST)
        assert contrast["text"] >= 4.5 and contrast["lines"] >= 3, scheme
    assert seen["light"][0] == "rgb(255, 255, 255)" != seen["dark"][0]
    assert seen["light"][1] != seen["dark"][1]


def test_screenshot(browser, reports):
    """The whole page is painted: of the right size, and not of one colour."""
    browser.view(360)
    browser.open(reports["wide"])
    height = browser.evaluate("document.documentElement.scrollHeight")
    png = browser.screenshot()
    assert struct.unpack(">II", png[16:24]) == (360, height)
    assert len(png) > 360 * height / 50


def test_paper(browser, reports):
    """Dark screens print on white; what is folded is printed too."""
    browser.view(1000, scheme="dark", media="print")
    browser.open(reports["wide"])
    assert browser.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    shown = "document.querySelector('details table').getBoundingClientRect().height"
    assert browser.evaluate(shown) > 50
    assert browser.pdf().startswith(b"%PDF")
