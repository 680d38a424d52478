"""Several runs together: Markdown for CI, and the index page."""

from typing import Any

from reporting import recorded

from labctl.report.index import index
from labctl.report.markdown import markdown
from labctl.verdict.judge import result

HOSTILE = "<script>alert(1)</script> | @everyone [x](http://evil) `code` **b** \x1b[31m\u202e\nnext #1"


def hostile() -> dict[str, Any]:
    step = {"index": 1, "name": HOSTILE, "verdict": "fail", "reason": HOSTILE, "findings": []}
    return {"scenario": HOSTILE, "run": HOSTILE, "verdict": "fail", "reason": HOSTILE, "seconds": None, "steps": [step]}


def test_what_went_wrong_comes_first_and_is_counted() -> None:
    text = markdown([result(recorded("backpressure")), result(recorded("firewall"))])
    lines = text.splitlines()
    assert lines[0] == "### labctl: 1 fail, 1 pass"
    assert lines[4].startswith("| ❌ | **firewall** | step 8")
    assert lines[5].startswith("| ✅ | **backpressure** |")
    assert "- **8 rejected with" in text
    assert "elapsed: expected at most 1s, got 1.0" in text


def test_nothing_a_run_says_is_markdown() -> None:
    text = markdown([hostile()])
    assert "<script" not in text
    assert "\x1b" not in text
    for active in ("@everyone", "[x](", " `code`", "**b**", "http://"):
        assert active not in text.replace("\\" + active[0], "")
    (row,) = [line for line in text.splitlines() if line.startswith("| ❌")]
    assert row.replace("\\|", "").count("|") == 6


def test_no_runs_say_so() -> None:
    assert "nothing was run" in markdown([])
    assert "Nothing was run." in index([])


def test_the_index_links_every_run_and_nothing_injects() -> None:
    page = index([result(recorded("firewall")), result(recorded("backpressure")) | {"directory": "x/y"}, hostile()])
    assert 'href="./20261123T150406Z-firewall-62dc/report.html"' in page
    assert 'href="./x/y/report.html"' in page
    assert "<script" not in page
    assert "\u202e" not in page
    assert page.index("firewall-62dc") < page.index("x/y")


def test_an_index_link_never_leaves_its_folder_by_scheme() -> None:
    page = index([hostile() | {"directory": "javascript:alert(1)"}])
    assert 'href="javascript:' not in page
    assert 'href="./javascript' in page
