"""The page in a real browser: what is on it, that it reacts, that nothing goes wrong in it."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser
from reporting import edited, evidence_of, judged, recorded, verdict_of
from test_report_html import hostile_run

from labctl.report.index import index
from labctl.verdict.judge import RunVerdict, result

Page = Callable[[RunVerdict], str]
ROOT = Path(__file__).parents[2]
ROWS = "#ladder .row"


@pytest.fixture(autouse=True)
def quiet(chromium: Browser) -> Iterator[None]:
    """Whatever a test does, the page says nothing on the console and asks for nothing but itself."""
    yield
    assert chromium.said == []
    assert [url for url in chromium.requests if not url.startswith(("file://", "data:"))] == []


def count(chromium: Browser, selector: str) -> int:
    found: int = chromium.js(f"document.querySelectorAll({json.dumps(selector)}).length")
    return found


def text(chromium: Browser, selector: str) -> str:
    found: str = chromium.js(f"document.querySelector({json.dumps(selector)}).textContent")
    return found


def set_input(chromium: Browser, selector: str, value: str) -> None:
    chromium.js(
        f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
        f" e.value = {json.dumps(value)}; e.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"
    )


def test_the_page_says_what_happened(chromium: Browser, page: Page) -> None:
    chromium.open(page(recorded("firewall")))
    chromium.wait("document.documentElement.dataset.ready === '1'")
    assert chromium.js("document.title") == "firewall: fail · labctl"
    assert text(chromium, "h1 .badge").strip() == "fail"
    assert count(chromium, ".step") == 19
    assert text(chromium, "#counts") == "38 packets, 15 problems"
    heads = chromium.js("[...document.querySelectorAll('#ladder-head .name')].map(e => e.textContent)")
    assert heads == ["client", "router", "server"]
    assert count(chromium, "#time .fault-bar") == 5
    assert count(chromium, "#time .step-seg") == 19
    labels = chromium.js("[...document.querySelectorAll('#time .lane-name')].map(e => e.textContent)")
    assert labels == ["steps", "faults", "packets", "throughput", "cwnd"]


def test_the_sockets_that_filled_are_plotted(chromium: Browser, page: Page) -> None:
    chromium.open(page(recorded("backpressure")))
    labels = chromium.js("[...document.querySelectorAll('#time .lane-name')].map(e => e.textContent)")
    assert labels == ["steps", "packets", "throughput", "recv_q", "send_q", "cwnd", "rtt"]


def test_what_stands_out_does_so_by_shape(chromium: Browser, page: Page) -> None:
    chromium.open(page(recorded("firewall")), height=4000)
    chromium.js("document.getElementById('ladder-view').style.maxHeight = 'none'")
    chromium.js("document.getElementById('stretch-more').click()")
    assert count(chromium, "#ladder .cross") == 7
    assert count(chromium, "#ladder .k-rst .badge-shape") == 2
    assert count(chromium, "#ladder .k-icmp .badge-shape") == 4
    assert count(chromium, "#ladder .k-again .badge-shape") == 6
    assert count(chromium, "#ladder .fault-band") == 5
    assert count(chromium, "#ladder .gap-text") >= 6


def test_a_click_on_a_packet_shows_its_fields_numbers_and_filter(chromium: Browser, page: Page) -> None:
    chromium.open(page(recorded("firewall")))
    chromium.click(f"{ROWS}.k-rst .hit")
    detail = text(chromium, "#detail")
    assert "RST, ACK" in detail
    assert "client#20" in detail
    assert "server#21" in detail
    assert "tcp.srcport == 65433" in text(chromium, "#detail .copy code")
    chromium.click("#detail .copy button")
    chromium.wait("document.querySelector('#detail .copy button').textContent === 'Copied'")
    chromium.key("Escape")
    chromium.click("#detail .close")
    assert chromium.js("document.getElementById('detail').hidden")


def test_a_number_in_a_reason_leads_to_its_packet(chromium: Browser, page: Page) -> None:
    """A packet's number in a step's explanation opens that packet of that host's capture; by keyboard as well as by click."""
    chromium.open(page(recorded("firewall")))
    links = "[...document.querySelectorAll('#step-3 .packet-number')].map(e => e.textContent)"
    assert chromium.js(links) == ["#19", "#20"]
    chromium.click("#step-3 .packet-number:last-of-type")
    assert text(chromium, "#detail h3") == "RST, ACK"
    assert "client#20" in text(chromium, "#detail")
    chromium.js("document.querySelector('#step-3 .packet-number').focus()")
    chromium.key("Enter", "\r")
    assert text(chromium, "#detail h3") == "SYN"
    assert "client#19" in text(chromium, "#detail")


def test_a_packet_that_stopped_says_where_and_what_was_in_place_there(chromium: Browser, page: Page) -> None:
    chromium.open(page(recorded("firewall")))
    set_input(chromium, "#filter-text", "lost")
    chromium.click(f"{ROWS} .hit")
    assert "it reached router and went no further; in place there: unreachable (reject)" in text(chromium, "#detail")


def test_the_ladder_can_be_walked_by_keyboard(chromium: Browser, page: Page) -> None:
    chromium.open(page(recorded("firewall")))
    chromium.js("document.getElementById('ladder-view').focus()")
    for key in ("ArrowDown", "ArrowDown", "ArrowDown"):
        chromium.key(key)
    active = "document.activeElement.getAttribute('aria-label')"
    assert chromium.js(active).startswith("4.1689 seconds: ACK, client to server, ports 40106 → 65432")
    chromium.key("Enter", "\r")
    assert text(chromium, "#detail h3") == "ACK"
    chromium.key("Escape")
    assert chromium.js("document.getElementById('detail').hidden")
    for _ in range(30):
        chromium.key("ArrowDown")
    assert "seconds: " in chromium.js(active)


@pytest.mark.parametrize(
    ("selector", "value", "left"),
    [
        ("#filter-text", "rst", 2),
        ("#filter-text", "65433 syn", 1),
        ("#filter-text", "port unreachable", 2),
        ("#filter-protocol", "ICMP", 4),
        ("#filter-host", "1", 38),
        ("#filter-text", "no such thing", 0),
    ],
)
def test_the_filters_filter(chromium: Browser, page: Page, selector: str, value: str, left: int) -> None:
    chromium.open(page(recorded("firewall")))
    set_input(chromium, selector, value)
    assert text(chromium, "#counts").startswith(f"{left} packet")
    assert chromium.js("document.getElementById('ladder-empty').hidden") is bool(left)


def test_only_problems_and_the_noise(chromium: Browser, page: Page) -> None:
    chromium.open(page(recorded("firewall")))
    chromium.click("#filter-problems")
    assert text(chromium, "#counts") == "15 packets, 15 problems"
    chromium.click("#filter-problems")
    chromium.click("#filter-noise")
    assert text(chromium, "#counts").startswith("90 packets")


def test_dragging_across_the_timeline_zooms_the_packets_too(chromium: Browser, page: Page) -> None:
    chromium.open(page(recorded("firewall")))
    chromium.drag("#time", 0.5, 0.7)
    assert text(chromium, "#range").startswith("2.")
    assert text(chromium, "#counts").startswith("2 packets, 2 problems, ")
    chromium.click("[data-zoom=all]")
    assert text(chromium, "#counts") == "38 packets, 15 problems"


def test_a_step_leads_to_its_packets(chromium: Browser, page: Page) -> None:
    chromium.open(page(recorded("firewall")))
    chromium.click("#step-8 .to-packets")
    assert text(chromium, "#counts").startswith("4 packets, 4 problems")


def test_the_table_says_the_same_as_the_diagram(chromium: Browser, page: Page) -> None:
    chromium.open(page(recorded("firewall")))
    chromium.click("#table-details summary")
    chromium.wait("document.querySelectorAll('#table tbody tr').length === 38")
    assert "client #8; router #33, #18; server #10" in text(chromium, "#table tbody tr")


def colours(chromium: Browser) -> tuple[str, str]:
    found = chromium.js("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    return found[0], found[1]


def test_dark_and_light_follow_the_system_and_the_button(chromium: Browser, page: Page) -> None:
    address = page(recorded("firewall"))
    chromium.open(address, scheme="dark")
    dark = colours(chromium)
    assert dark == ("rgb(17, 20, 27)", "rgb(231, 233, 239)")
    chromium.open(address, scheme="light")
    light = colours(chromium)
    assert light != dark
    chromium.click("#theme")
    chromium.click("#theme")
    assert text(chromium, "#theme-name") == "dark"
    assert colours(chromium) == dark
    chromium.click("#theme")
    assert colours(chromium) == light


@pytest.mark.parametrize("width", [320, 640, 1000])
def test_nothing_is_wider_than_the_screen(chromium: Browser, page: Page, width: int) -> None:
    chromium.open(page(recorded("firewall")), width=width)
    assert chromium.js("document.documentElement.scrollWidth") <= width
    chromium.click(f"{ROWS} .hit")
    assert chromium.js("document.documentElement.scrollWidth") <= width


CONTRAST = """(() => {
    const channel = c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number); return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
    const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (/^rgb\\(/.test(c)) return c; } return "rgb(255, 255, 255)"; };
    const bad = [];
    for (const e of document.querySelectorAll("main *, header *, footer *")) {
        if (e.closest("svg, .sr") || ![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
        const a = light(getComputedStyle(e).color), b = light(behind(e));
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) bad.push(e.className + " " + e.textContent.trim().slice(0, 30) + " " + ratio.toFixed(2));
    }
    return bad;
})()"""  # noqa: E501


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["firewall", "backpressure"])
def test_every_text_can_be_read(chromium: Browser, page: Page, name: str, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of at least 4.5 to 1."""
    chromium.open(page(recorded(name)), scheme=scheme)
    assert chromium.js(CONTRAST) == []


def test_hostile_text_runs_nothing_and_breaks_nothing(chromium: Browser, page: Page) -> None:
    chromium.open(page(hostile_run()))
    chromium.wait("document.documentElement.dataset.ready === '1'")
    assert count(chromium, "script") == 2
    assert count(chromium, "img") == 0
    chromium.click(f"{ROWS} .hit")
    assert "<img src=x onerror=alert(2)>" in text(chromium, "#detail")


@pytest.mark.parametrize("what", ["empty", "interrupted", "no packets"])
def test_runs_that_broke_have_a_page_that_works(chromium: Browser, page: Page, tmp_path: Path, what: str) -> None:
    def edit(event: dict[str, Any]) -> dict[str, Any] | None:
        if what == "empty":
            return event if event["event"] == "run-start" else None
        return event if event["t"] < 8 else None

    run = verdict_of(evidence_of({})) if what == "no packets" else edited("firewall", tmp_path, edit)
    chromium.open(page(run))
    chromium.wait("document.documentElement.dataset.ready === '1'")
    assert "No packet was captured." in text(chromium, "#packets")


def test_the_index_leads_to_the_runs(chromium: Browser, tmp_path: Path) -> None:
    target = tmp_path / "index.html"
    target.write_text(index([result(recorded("firewall")), result(recorded("backpressure"))]), encoding="utf-8")
    chromium.open(target.as_uri(), width=320)
    assert count(chromium, ".runs tbody tr") == 2
    assert chromium.js("document.documentElement.scrollWidth") <= 320
    assert chromium.js("document.querySelector('.runs a').href").endswith("firewall-62dc/report.html")


TWICE = (
    "(() => { const t = performance.now();"
    " for (const id of ['filter-problems', 'filter-problems']) document.getElementById(id).click();"
    " return performance.now() - t; })()"
)


def quickest(chromium: Browser, address: str) -> tuple[float, float]:
    """How long a page takes to open and to filter twice, in seconds: the shortest of some times, for others are at work."""
    opened, filtered = [], []
    for _ in range(3):
        start = time.monotonic()
        chromium.open(address)
        chromium.wait("document.documentElement.dataset.ready === '1'")
        opened.append(time.monotonic() - start)
        filtered += [chromium.js(TWICE) / 1000 for _ in range(3)]
    return min(opened), min(filtered)


def test_fifty_thousand_packets_stay_quick(chromium: Browser, page: Page, tmp_path: Path) -> None:
    """Ten times the packets do not take twenty times as long: a page shows little at once, and nothing in it is quadratic."""
    spec = importlib.util.spec_from_file_location("bench_evidence", ROOT / "bench" / "evidence.py")
    assert spec is not None
    assert spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["bench_evidence"] = bench
    spec.loader.exec_module(bench)
    few = quickest(chromium, page(judged(bench.make(tmp_path / "few", 5_000))))
    many = quickest(chromium, page(judged(bench.make(tmp_path / "run", 50_000))))
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
    assert [later < 20 * before for before, later in zip(few, many, strict=True)] == [True, True], (few, many)
    assert count(chromium, "*") < 5_000
    assert text(chromium, "#counts").startswith("12,5")
    chromium.js("document.getElementById('ladder-view').scrollTop = 5000")
    chromium.wait("[...document.querySelectorAll('#ladder .row .hit')].some(e => +e.getAttribute('y') > 5000)")
