"""The live page in a real Chromium, over a real broker, a real worker and the simulated survey."""

import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from card_factories import clean_record, message_of, opinion, record
from kafka_desk import Broker

pytest.importorskip("starlette", reason="no starlette: install the extra console")
pytest.importorskip("uvicorn", reason="no uvicorn: install the extra console")

from live_site import LiveSite, live_site, running, settings_of, until, working
from prometheus_client import generate_latest

from streamfilter.console.assembly import Console
from streamfilter.reading import read

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WAIT_MS = 30_000
PAGES = ("", "review", "rates", "exposures", "labels", "wall")
HOSTILE = '"><img src=x onerror=document.title=1><script>document.title=2</script>'


@pytest.fixture(scope="module")
def site(broker: Broker, engine_home: Path) -> Iterator[LiveSite]:
    """With a worker, and 24 alerts of which some are contaminated."""
    with live_site(broker, engine_home) as made, working(made):
        made.send(24, mix={"CR": 0.2, "HCL": 0.2, "TRL": 0.2})
        until(lambda: len(broker.read(made.settings.outputs.annotations)) == 24, "annotations", 120)
        yield made


@contextmanager
def opened(chromium: "Browser", url: str, **context: Any) -> Iterator["Page"]:
    """A page in a browser of its own; it may ask no other host, and no script may fail."""
    around = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
    page = around.new_page()
    page.set_default_timeout(WAIT_MS)
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(url)
    yield page
    around.close()
    assert {urlsplit(url).netloc} == {urlsplit(each).netloc for each in asked}
    assert [] == faults


def named(page: "Page", name: str) -> None:
    """Give a name, as who labels."""
    page.fill("#person", name)
    page.click(".person button")
    page.wait_for_selector(".say")


def labels_of(site: LiveSite) -> list[dict[str, Any]]:
    """What stands in the topic; in order as far as it is one card's."""
    messages = site.broker.read(site.settings.outputs.labels)
    assert all(message.key for message in messages)
    return [read(message.value or b"") for message in messages]


def test_an_alert_is_a_card_with_stamps_soon_after_its_annotation(
    site: LiveSite, chromium: "Browser"
) -> None:
    """Within two seconds of it (half of five alerts at least), and its stamps are drawn."""
    with opened(chromium, site.url) as page:
        page.wait_for_selector(".card")
        page.evaluate(
            """() => { window.came = {}; new MutationObserver((all) => all.forEach((one) =>
            one.addedNodes.forEach((node) => { if (node.id) came[node.id] = Date.now(); })))
            .observe(document.getElementById("cards"), { childList: true }); }"""
        )
        for seed in range(5):
            site.send(1, seed=100 + seed)
            count = seed + 1
            page.wait_for_function(f"() => Object.keys(came).length >= {count}")
        took = page.evaluate(
            """() => Object.entries(came).map(([id, ms]) =>
            ms - Date.parse(document.querySelector(`#${id} time`).dateTime))"""
        )
        assert sorted(took)[2] < 2000
        first = page.locator(".card").first
        for plane in ("science", "template", "difference"):
            page.wait_for_function(
                f"() => document.querySelector('.card img[src$=\"{plane}.png\"]').naturalWidth > 9"
            )
        assert first.locator(".numbers").inner_text().startswith("rule")


def test_masks_are_outlined_and_can_be_switched_off(site: LiveSite, chromium: "Browser") -> None:
    """By class, without a script."""
    with opened(chromium, f"{site.url}?class=HCL", java_script_enabled=False) as page:
        outline = page.locator(".card img.m-HCL").first
        outline.scroll_into_view_if_needed()
        outline.wait_for(state="visible")
        answer = page.request.get(f"{site.url.rstrip('/')}{outline.get_attribute('src')}")
        assert b"<path" in answer.body()
        page.click("text=Outlines and zoom")
        page.uncheck("#show-HCL")
        assert outline.is_hidden()


def test_keys_label_a_card_and_take_that_back(site: LiveSite, chromium: "Browser") -> None:
    """Each key is one message in the topic, keyed by the alert; a verdict never changes."""
    before = len(labels_of(site))
    with opened(chromium, f"{site.url}?verdict=contaminated") as page:
        named(page, "ana <b>")
        page.keyboard.press("j")
        alert = page.locator(".card.chosen h2").inner_text().split()[1]
        page.keyboard.press("4")
        page.wait_for_selector(".card.chosen .said .label")
        assert "ana <b>: cosmic ray" == page.locator(".card.chosen .said").inner_text()
        page.keyboard.press("2")
        page.wait_for_selector(".card.chosen .said >> text=wrong")
        page.keyboard.press("u")
        page.wait_for_selector("#told >> text=Taken back")
        page.wait_for_selector(".card.chosen .said .label", state="detached")
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        box = page.locator("#told").bounding_box()
        assert box is not None
        assert 0 < box["y"] < 900, "said where one looks"
    said = labels_of(site)[before:]
    assert [("artefact", "CR"), ("wrong", None), (None, None)] == [
        (each["answer"], each["contaminant"]) for each in said
    ]
    assert {alert} == {each["alert_id"] for each in said}
    assert {"contaminated"} == {each["verdict"]["label"] for each in said}


def test_without_a_script_everything_is_still_there(site: LiveSite, chromium: "Browser") -> None:
    """Cards, stamps, the form, and back again to the card."""
    with opened(chromium, site.url, java_script_enabled=False) as page:
        page.fill("#person", "ben")
        page.click(".person button")
        alert = page.locator(".card h2").first.inner_text()
        page.locator(".card").first.locator("text=real").click()
        assert alert == page.locator("h1").inner_text()
        assert "ben: real" == page.locator(".said").inner_text()
        page.click("nav >> text=Labels")
        assert "ben: 1" in page.locator("main").inner_text()
    assert 1 == [each["person"] for each in labels_of(site)].count("ben")


def test_cards_are_chosen_and_found_again(site: LiveSite, chromium: "Browser") -> None:
    """By verdict, by id, and by their own address."""
    with opened(chromium, f"{site.url}?verdict=contaminated") as page:
        verdicts = page.locator(".card .verdict").all_inner_texts()
        assert verdicts
        assert all(each.startswith("contaminated") for each in verdicts)
        link = page.locator(".card h2 a").first
        alert = link.inner_text().split()[1]
        link.click()
        page.wait_for_selector(".evidence table")
        assert alert in page.locator("h1").inner_text()
        page.goto(f"{site.url}?id={alert}")
        page.wait_for_selector(".card")
        assert {alert} == {t.split()[1] for t in page.locator(".card h2").all_inner_texts()}


def test_a_further_engine_s_evidence_stands_beside_the_first_s(site: LiveSite) -> None:
    """On the card what each finds, on its own page every number."""
    made = clean_record(1, survey="two", also=[opinion(0.87)])
    site.broker.produce(site.settings.outputs.annotations, [message_of(made)])

    def text_of(path: str) -> str:
        with urllib.request.urlopen(f"{site.url}{path}", timeout=30) as answer:
            return str(answer.read().decode())

    card = until(lambda: re.search(r"<article.*</article>", text_of("?survey=two")))[0]
    assert "<dt>maximask</dt><dd>CR 0.98, 5 px</dd>" in card
    assert "<dt>stampmask</dt><dd>CR 0.87, 7 px</dd>" in card
    link = re.search(r'href="/(card/[^"]+)"', card)
    assert link is not None
    evidence = re.findall(r"<tr><td>(\w+)</td><td>science</td>", text_of(link[1]))
    assert ["maximask", "stampmask"] == evidence


def test_what_a_packet_says_is_never_run(site: LiveSite, chromium: "Browser") -> None:
    """Hostile ids and names of objects are text, in whatever came and in what is sent later."""
    annotations = site.settings.outputs.annotations
    for number in (1, 2):
        made = clean_record(number, survey="other", object_id=HOSTILE)
        site.broker.produce(annotations, [message_of(made)])
    with opened(chromium, f"{site.url}?survey=other") as page:
        page.wait_for_selector(".card")
        site.broker.produce(annotations, [message_of(clean_record(3, survey="other",
                            alert_id=HOSTILE, object_id=HOSTILE))])  # fmt: skip
        page.wait_for_function("() => document.querySelectorAll('.card').length >= 3")
        assert HOSTILE in page.locator(".card").first.inner_text()
        assert "Live - streamfilter" == page.title()
        assert 0 == page.locator(".card script, .card img[src='x']").count()


def test_a_frozen_view_counts_what_waits(site: LiveSite, chromium: "Browser") -> None:
    """And goes on where it stood."""
    annotations = site.settings.outputs.annotations
    with opened(chromium, f"{site.url}?survey=waits") as page:
        page.wait_for_function("() => document.getElementById('status').textContent.length > 0")
        page.wait_for_timeout(1500)
        page.keyboard.press("p")
        made = [message_of(clean_record(n, survey="waits")) for n in range(3)]
        site.broker.produce(annotations, made)
        page.wait_for_selector("#waiting >> text=paused; 3 alerts came since")
        assert 0 == page.locator(".card").count()
        page.click("text=Go on")
        page.wait_for_selector(".card")
        assert "" == page.locator("#waiting").inner_text()


def test_a_thousand_cards_do_not_make_the_page_grow(site: LiveSite, chromium: "Browser") -> None:
    """It holds the newest; the process too; and it says that it shows a sample."""
    with opened(chromium, f"{site.url}?survey=many") as page:
        page.wait_for_timeout(1500)
        for start in range(0, 1000, 100):
            made = [message_of(clean_record(start + n, survey="many")) for n in range(100)]
            site.broker.produce(site.settings.outputs.annotations, made)
        page.wait_for_selector("#status >> text=showing a sample")
        assert 1 <= page.locator(".card").count() <= 120
        # As if somebody had looked for minutes: the page itself leaves out the oldest.
        page.evaluate("""() => { for (let n = 0; n < 1000; n++)
            show('<article class="card" id="x' + n + '"></article>'); }""")
        assert 120 == page.locator(".card").count()


def test_the_counts_are_those_of_the_worker(site: LiveSite, chromium: "Browser") -> None:
    """Clean, contaminated and suspect alerts of the simulated surveys, as in /metrics."""
    lines = generate_latest(site.registry).decode().splitlines()
    found = [line for line in lines if line.startswith("streamfilter_alerts_total{")]
    dropped = [float(line.rsplit(" ", 1)[1]) for line in found if 'action="drop"' in line]
    assert sum(dropped) > 0
    with opened(chromium, f"{site.url}rates") as page:
        rows = page.locator("table").first.locator("tbody tr").all_inner_texts()
        places = page.locator("table").last.locator("tbody tr").all_inner_texts()
    surveys = {row.split("\t")[0] for row in places}
    assert {"ztf", "lsst"} <= surveys
    assert any("CR" in row.split("\t")[-1] for row in places)
    shown = [int(row.split("\t")[3]) for row in rows if row.startswith("contaminated")]
    assert sum(dropped) == sum(shown)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [*PAGES, "?verdict=contaminated"])
def test_nothing_is_lost_to_a_screen_reader(
    site: LiveSite, chromium: "Browser", path: str, scheme: str
) -> None:
    """Names, roles and contrast, as axe judges them (WCAG A and AA)."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe: extra dev")
    with opened(chromium, f"{site.url}{path}", color_scheme=scheme, bypass_csp=True) as page:
        page.wait_for_selector("main")
        if path.startswith("?"):
            page.locator(".card h2 a").first.click()
            page.wait_for_selector(".evidence")
        for summary in page.locator("summary").all():
            summary.click()
        found = axe.Axe().run(page)
        faults = [
            (each["id"], [node["html"][:200] for node in each["nodes"]][:3])
            for each in found.response["violations"]
        ]
    assert [] == faults


@pytest.mark.parametrize("width", [360, 768, 2560])
def test_a_page_fits_its_width(site: LiveSite, chromium: "Browser", width: int) -> None:
    """From a telephone to a wall: nothing stands out at the side."""
    for path in PAGES:
        size = {"width": width, "height": 800}
        with opened(chromium, f"{site.url}{path}", viewport=size) as page:
            page.wait_for_selector("main")
            assert width >= page.evaluate("document.documentElement.scrollWidth"), path


def test_the_page_goes_on_after_a_restart_of_its_process(
    broker: Broker, engine_home: Path, chromium: "Browser"
) -> None:
    """By itself, and says meanwhile that it is disconnected."""
    settings = settings_of(broker, engine_home)
    first = Console(settings, say=print)
    port = urlsplit(first.url).port
    again = settings.model_copy(
        update={"console": settings.console.model_copy(update={"port": port})}
    )
    with ExitStack() as stack:
        with running(first):
            page = stack.enter_context(opened(chromium, first.url))
            page.wait_for_selector("#status >> text=Connected")
        page.wait_for_selector("#status >> text=Disconnected")
        second = until_made(lambda: Console(again, say=print))
        with running(second):
            page.wait_for_selector("#status >> text=Connected")
            made = record(1, times={**record()["times"], "annotated": datetime.now(UTC)})
            broker.produce(settings.outputs.annotations, [message_of(made)])
            page.wait_for_selector(".card")


def until_made(make: Callable[[], Console]) -> Console:
    """The port is free a moment after the first process has left it."""
    end_s = time.monotonic() + 20
    while True:
        try:
            return make()
        except Exception:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.2)
