"""What a person sees of a run: in a terminal a line that moves, in a log a line now and then, else nothing."""

from __future__ import annotations

import io
import sys
import time
from types import SimpleNamespace

import pytest

import fewshot
from fewshot._progress import Bar, in_words
from fewshot.bulk.progress import Display, Tally, shown, summary
from fewshot.errors import ServiceError
from fewshot.models.scripted import ScriptedClient
from fewshot.result import Result
from fewshot.types import Usage


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def tally(**counts: object) -> Tally:
    return Tally(**{"started": time.monotonic() - 10.0, **counts})  # type: ignore[arg-type]


def test_a_log_gets_a_line_now_and_then_and_no_control_signs() -> None:
    log = io.StringIO()
    display = Display(log, every=1e-9)
    for done in range(1, 4):
        display(tally(done=done, total=3))
    display.close()
    assert log.getvalue().count("\n") == 3
    assert "\r" not in log.getvalue()
    assert log.getvalue().startswith("1 of 3 rows, 0.1 a second, ")


def test_a_short_run_leaves_no_line_in_a_log() -> None:
    log = io.StringIO()
    display = Display(log)
    for done in range(100):
        display(tally(done=done, total=100))
    display.close()
    assert log.getvalue() == ""


def test_a_terminal_has_one_line_that_is_written_over() -> None:
    screen = Terminal()
    display = Display(screen, every=1e-9)
    for done in (10, 20, 30):
        display(tally(done=done, total=30, failed=2, cached=1, cost=0.5))
    display.close()
    display.close()
    last = screen.getvalue().rstrip("\n").split("\r")[-1]
    assert "30" in last
    assert "2 failed, 1 from cache, $0.5000" in last
    assert screen.getvalue().count("\n") == 1


def test_a_notebook_without_widgets_has_the_bar_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))  # type: ignore[misc]
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    page = io.StringIO()
    display = Display(page, every=1e-9)
    display(tally(done=1))
    display(tally(done=2))
    display.close()
    assert "2 rows" in page.getvalue()


def test_work_that_nobody_asked_to_see_shows_itself_when_it_is_long() -> None:
    screen = Terminal()
    with Bar("indexing", unit="texts", stream=screen, every=1e-9, after=1000) as short:
        short.show(1, 2)
    assert screen.getvalue() == ""
    with Bar("indexing", unit="texts", stream=screen, every=1e-9) as long:
        long.show(1, 2, extras="3 failed")
    last = screen.getvalue().split("\r")[-1]
    assert "indexing" in last
    assert "1/2" in last
    assert "texts" in last
    assert "3 failed" in last


def test_it_is_shown_only_when_wanted() -> None:
    assert shown(None) is None
    assert shown(False) is None
    assert isinstance(shown(True), Display)
    assert shown(print) is print


def test_a_run_with_progress_ends_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    task = fewshot.load("sentiment", client=ScriptedClient(lambda _: "positive"))
    list(task.map(["a", "b"], progress=True))
    assert capsys.readouterr().out == ""


def test_the_summary_tells_all_that_counts() -> None:
    whole = tally(done=1200, failed=3, cached=40, kept=100, cost=1.25, input_tokens=1000, output_tokens=20)
    told_whole = "1,200 rows in 10 s, 3 failed, 40 from cache, 100 kept, 1,000 tokens in, 20 out, $1.2500"
    assert summary(whole) == told_whole
    assert summary(tally(done=1)) == "1 row in 10 s"
    assert "price not known" in summary(tally(done=2, unpriced=1))


def test_the_rate_leaves_out_what_was_done_before() -> None:
    now = tally(done=150, kept=100, total=250)
    assert now.rate == pytest.approx(5.0, rel=0.01)
    told = in_words(now.done, now.total, now.seconds, kept=now.kept, extras="100 kept")
    assert told.startswith("150 of 250 rows, 5.0 a second, 20 s left, 100 kept")


def test_each_result_is_counted_once() -> None:
    count = Tally()
    count.add(Result(value="x", usage=Usage(5, 1), cost=0.5, attempts=1), kept=False)
    count.add(Result(error=ServiceError("down"), attempts=1), kept=False)
    count.add(Result(value="x", cached=True, cost=0.0), kept=False)
    count.add(Result(value="x", usage=Usage(5, 1), cost=0.5), kept=True)
    assert (count.done, count.failed, count.cached, count.kept, count.unpriced) == (4, 1, 1, 1, 1)
    assert (count.cost, count.input_tokens, count.output_tokens) == (0.5, 5, 1)
