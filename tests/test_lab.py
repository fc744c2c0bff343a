"""The lab: what its calls do, whom it refuses, and the page itself in a real browser."""

from __future__ import annotations

import http.client
import json
import math
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fewshot import Completion, InputError, TaskError, load
from fewshot.authoring.lab.server import LabServer
from fewshot.authoring.lab.workbench import Workbench, model_of
from fewshot.models.scripted import ScriptedClient
from fewshot.types import Request, TokenLogprob

TOML = 'description = "Tell the mood."\noutput = ["good", "bad"]\n'
PROMPT = """\
{% block instruction %}Say good or bad.{% endblock %}
{% block input %}Text: {{ text }}{% endblock %}
{% block output %}Mood: {{ output }}{% endblock %}
"""
EXAMPLES = '{"text": "Lovely.", "output": "good"}\n{"text": "Awful.", "output": "bad"}\n'
TEST = '{"text": "I love it", "output": "good"}\n{"text": "Meh", "output": "good"}\n{"text": "No.", "output": "bad"}\n'
CAREFUL = PROMPT.replace("Say good", "With care, say good")


class Moody(ScriptedClient):
    """Likes what is loved, and with care also what is `Meh`; lists log-probabilities as a service does."""

    top_logprobs = 20

    def __init__(self) -> None:
        super().__init__(self.answer)

    def answer(self, request: Request) -> Completion:
        asked = request.chat[-1].content
        likes = "love" in asked or ("Meh" in asked and "With care" in request.chat[0].content)
        best, other = (b"good", b"bad") if likes else (b"bad", b"good")
        top = ((best, math.log(0.9)), (other, math.log(0.1)))
        return Completion(text=best.decode(), model="moody", tokens=(TokenLogprob(*top[0], top),))


@pytest.fixture
def mood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "templates" / "mood"
    folder.mkdir(parents=True)
    texts = {"task.toml": TOML, "prompt.jinja": PROMPT, "examples.jsonl": EXAMPLES, "test.jsonl": TEST}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def bench(mood: Path) -> Iterator[Workbench]:
    made = Workbench("mood", client=Moody(), calibrate=False)
    yield made
    made.close()


@pytest.fixture
def server(bench: Workbench) -> Iterator[LabServer]:
    running = LabServer(bench)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def edited(bench: Workbench, **changes: str) -> dict[str, str]:
    return bench.open("mood")["files"] | {name.replace("__", "."): text for name, text in changes.items()}


# -- what the calls do ------------------------------------------------------------------------------------------------


def test_opens_the_files_of_a_task(bench: Workbench, mood: Path):
    found = bench.open("mood")
    assert found["files"] == {"task.toml": TOML, "prompt.jinja": PROMPT, "examples.jsonl": EXAMPLES}
    assert (found["path"], found["test"]) == (str(mood), TEST)
    assert bench.tasks()["first"] == "mood"
    assert "sentiment" in bench.tasks()["tasks"]


def test_shows_both_forms_as_they_will_be_sent(bench: Workbench):
    seen = bench.look("mood", edited(bench), "It rains.\nIt pours.")
    task = load("mood")
    chat = [{"role": m.role, "content": m.content} for m in task.render("It rains.")]
    assert [*seen["prompt"]["chat"], seen["prompt"]["question"]] == chat
    assert seen["prompt"]["text"] + seen["prompt"]["rest"] == task.render("It rains.", form="text")
    assert seen["findings"] == []


def test_a_draft_is_looked_at_without_touching_the_folder(bench: Workbench, mood: Path):
    seen = bench.look("mood", edited(bench, prompt__jinja=PROMPT.replace("{{ text }}", "{{ txt }}")))
    found = [(f["path"], f["line"], f["code"]) for f in seen["findings"]]
    assert found == [("prompt.jinja", 2, "unknown-variable"), ("prompt.jinja", 2, "unused-input")]
    assert seen["prompt"] is None
    assert seen["error"].startswith("prompt.jinja:2: unknown variable 'txt'")
    assert (mood / "prompt.jinja").read_text(encoding="utf-8") == PROMPT


def test_runs_a_draft_on_a_handful_of_inputs(bench: Workbench):
    results = bench.run("mood", edited(bench, prompt__jinja=CAREFUL), 'I love it\n\n{"text": "Meh"}\n')["results"]
    assert [(r["value"], r["error"]) for r in results] == [("good", None), ("good", None)]
    assert results[0]["probabilities"] == pytest.approx({"good": 0.9, "bad": 0.1})
    with pytest.raises(InputError, match="nothing to ask"):
        bench.run("mood", edited(bench), " \n")
    with pytest.raises(InputError, match="21 inputs are more than the 20"):
        bench.run("mood", edited(bench), "x\n" * 21)


def test_compares_what_is_saved_with_the_draft(bench: Workbench):
    found = bench.compare("mood", edited(bench, prompt__jinja=CAREFUL), TEST)
    assert (found["saved"]["value"], found["draft"]["value"]) == pytest.approx((2 / 3, 1.0))
    assert found["changes"] == [{"inputs": "Meh", "truth": "good", "saved": "bad", "draft": "good", "better": 1}]
    assert found["tasks"][0] != found["tasks"][1]


def test_saves_to_the_folder(bench: Workbench, mood: Path):
    opened = bench.open("mood")
    found = bench.save("mood", edited(bench, prompt__jinja=CAREFUL), opened["stamp"])
    assert (mood / "prompt.jinja").read_text(encoding="utf-8") == CAREFUL
    assert found["stamp"] != opened["stamp"]
    assert sorted(p.name for p in mood.iterdir()) == ["examples.jsonl", "prompt.jinja", "task.toml", "test.jsonl"]


def test_does_not_overwrite_what_somebody_else_has_changed(bench: Workbench, mood: Path):
    opened = bench.open("mood")
    (mood / "task.toml").write_text(TOML + "# mine\n", encoding="utf-8")
    with pytest.raises(InputError, match="changed on disk since"):
        bench.save("mood", opened["files"], opened["stamp"])
    assert "# mine" in (mood / "task.toml").read_text(encoding="utf-8")


def test_a_shipped_task_is_saved_only_as_a_copy_with_a_name(bench: Workbench, tmp_path: Path):
    opened = bench.open("sentiment")
    assert opened["shipped"]
    shipped = load("sentiment").path
    files = opened["files"] | {"task.toml": opened["files"]["task.toml"] + "# mine\n"}
    for copy in (None, "", "../mine", "Mine"):
        with pytest.raises(InputError, match="ships with a package and is not changed"):
            bench.save("sentiment", files, opened["stamp"], copy)
    with pytest.raises(InputError, match="templates/mood is there already"):
        bench.save("sentiment", files, opened["stamp"], "mood")
    assert [path.name for path in (tmp_path / "templates").iterdir()] == ["mood"]
    saved = bench.save("sentiment", files, opened["stamp"], "tone")
    assert (saved["task"], saved["path"], saved["shipped"]) == ("tone", str(tmp_path / "templates" / "tone"), False)
    assert "# mine" not in (shipped / "task.toml").read_text(encoding="utf-8")
    assert load("tone").path == tmp_path / "templates" / "tone"


def test_ones_own_tasks_come_first_and_the_model_is_named(bench: Workbench):
    found = bench.tasks()
    assert found["own"] == ["mood"] == found["tasks"][:1]
    assert found["tasks"][1:] == sorted(found["tasks"][1:])
    assert bench.open("mood")["model"] == "scripted"
    assert model_of("mood", model="gpt-6-luna").startswith("nobody yet: ")


def test_makes_a_new_task_but_none_over_another(bench: Workbench, tmp_path: Path):
    made = bench.new("ticket", "Sort the ticket.", "bug, question")
    assert (made["path"], made["shipped"]) == (str(tmp_path / "templates" / "ticket"), False)
    assert load("ticket").output.labels == ("bug", "question")
    assert load(bench.new("story")["path"]).output.kind == "text"
    for name, why in (("ticket", "already"), ("sentiment", "already"), ("Not A Name", "is not a task name")):
        with pytest.raises(InputError, match=why):
            bench.new(name, "", "a, b")


@pytest.mark.parametrize("name", ["../mood/task.toml", "/etc/passwd", "other.txt", "test.jsonl", ""])
def test_writes_no_other_file(bench: Workbench, name: str):
    stamp = bench.open("mood")["stamp"]
    for call in (lambda f: bench.save("mood", f, stamp), lambda f: bench.look("mood", f)):
        with pytest.raises(InputError, match="is not a file of a task"):
            call({name: "x"})


def test_writes_through_no_link(bench: Workbench, mood: Path, tmp_path: Path):
    outside = tmp_path / "outside.toml"
    outside.write_text(TOML, encoding="utf-8")
    opened = bench.open("mood")
    (mood / "task.toml").unlink()
    (mood / "task.toml").symlink_to(outside)
    with pytest.raises(TaskError, match="is a link out of its folder"):
        bench.open("mood")
    with pytest.raises((InputError, TaskError), match="is a link"):
        bench.save("mood", opened["files"] | {"task.toml": "x"}, opened["stamp"])


@pytest.mark.parametrize("task", ["../mood", "/etc", ".", "nothing"])
def test_opens_no_other_folder(bench: Workbench, task: str):
    with pytest.raises(InputError, match="no task"):
        bench.open(task)


# -- whom it refuses --------------------------------------------------------------------------------------------------


def ask(
    server: LabServer, path: str = "/api/tasks", method: str = "POST", body: bytes = b"{}", **headers: str
) -> tuple:
    host = f"127.0.0.1:{server.server_address[1]}"
    usual = {"Host": host, "Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    for name, value in {**usual, "Content-Length": str(len(body)), **given}.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, (json.loads(text) if reply.headers.get_content_type() == "application/json" else text), reply


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (200, {}),
        (200, {"Origin": "http://127.0.0.1:{port}", "Sec_Fetch_Site": "same-origin"}),
        (200, {"Host": "localhost:{port}"}),
        (403, {"Host": "evil.example:{port}"}),
        (403, {"Host": "127.0.0.1"}),
        (403, {"Origin": "https://evil.example"}),
        (403, {"Origin": "null"}),
        (403, {"Origin": "http://localhost:{port}"}),
        (403, {"Sec_Fetch_Site": "cross-site"}),
        (401, {"Authorization": "Bearer wrong"}),
        (401, {"Authorization": ""}),
        (415, {"Content_Type": "text/plain"}),
        (413, {"Content_Length": "999999999"}),
        (411, {"Content_Length": "-1"}),
        (400, {"body": b"[]"}),
        (400, {"body": b'{"task": '}),
        (400, {"body": b'{"nothing": 1}'}),
        (404, {"path": "/api/close"}),
        (404, {"path": "/etc/passwd"}),
        (422, {"path": "/api/open", "body": b'{"task": "../mood"}'}),
    ],
)
def test_answers_only_its_own_page(server: LabServer, status: int, change: dict[str, Any]):
    port = str(server.server_address[1])
    filled = {k: v.replace("{port}", port) if isinstance(v, str) else v for k, v in change.items()}
    found, value, _ = ask(server, **filled)
    assert found == status, value
    assert ("error" in value) == (status != 200)


def test_listens_on_loopback_with_a_token_behind_the_hash(server: LabServer):
    assert server.server_address[0] == "127.0.0.1"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#[\w-]{32}", server.url)


def test_the_page_needs_nothing_from_elsewhere_and_holds_no_secret(server: LabServer):
    status, page, reply = ask(server, "/", "GET")
    assert status == 200
    assert not re.findall(r"https?://|//cdn|@import|url\(", page)
    assert server.token not in page
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert ask(server, "/", "GET", Host="evil.example")[0] == 403
    assert ask(server, "/other", "GET")[0] == 404


ODD = [
    None,
    0,
    "5",
    {},
    [],
    {"a": 1},
    ["a"],
    [[]],
    True,
    1e308,
    "\x00",
    "x" * 300,
    {"task.toml": 5},
    {"task.toml": None},
]
GOOD = {
    "task": "mood",
    "files": {},
    "inputs": "x",
    "rows": TEST,
    "name": "test.jsonl",
    "limit": 5,
    "stamp": "x",
    "copy": "x",
    "description": "",
    "labels": "a, b",
}
TAKES = {
    "open": ("task",),
    "look": ("task", "files", "inputs"),
    "run": ("task", "files", "inputs"),
    "compare": ("task", "files", "rows", "name", "limit"),
    "save": ("task", "files", "stamp", "copy"),
    "new": ("name", "description", "labels"),
}


@pytest.mark.parametrize(("call", "name"), [(call, name) for call, names in TAKES.items() for name in names])
def test_values_of_other_types_are_refused_without_a_traceback(
    server: LabServer, call: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in ODD:
        given = {each: GOOD[each] for each in TAKES[call]} | {name: value}
        status, told, _ = ask(server, f"/api/{call}", body=json.dumps(given).encode())
        assert status in (200, 400, 422), (value, status, told)
    assert "Traceback" not in capsys.readouterr().err


def test_connections_beyond_a_bound_are_closed_and_the_others_go_on(server: LabServer) -> None:
    waiting = [socket.create_connection(server.server_address, timeout=20) for _ in range(24)]
    with socket.create_connection(server.server_address, timeout=20) as beyond:
        assert beyond.recv(1) == b""
    for one in waiting:
        one.close()
    assert sum(thread.name.endswith("(process_request_thread)") for thread in threading.enumerate()) <= 24
    for _ in range(100):
        try:
            assert ask(server)[0] == 200
            break
        except OSError:  # those that were closed are on their way out
            threading.Event().wait(0.02)
    else:
        raise AssertionError("nothing is served any more")


# -- in a browser -----------------------------------------------------------------------------------------------------

Find = Callable[[str], Any]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # selenium's own connection to its driver
def test_edit_run_compare_and_save_in_chromium(server: LabServer, browser: Any, mood: Path, tmp_path: Path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support import expected_conditions
    from selenium.webdriver.support.ui import WebDriverWait

    def find(selector: str) -> Any:
        return browser.find_element("css selector", selector)

    def until(seen: Callable[[], Any]) -> None:
        WebDriverWait(browser, 30, poll_frequency=0.05).until(lambda _: seen())

    browser.get(server.url)
    until(lambda: "Say good or bad." in find("#prompt").text)
    assert find("#verdict").text == "no faults"

    def type_at(place: tuple[int, int], text: str) -> None:
        """Select a part of the editor's text, as with the mouse, and type over it."""
        editor.click()
        browser.execute_script("arguments[0].setSelectionRange(...arguments[1])", editor, list(place))
        ActionChains(browser).send_keys(text).perform()

    editor = find(".editor:not([hidden])")
    begin = PROMPT.index("Say good")
    type_at((begin, begin), "With care, {{ oops }}")
    until(lambda: "unknown variable 'oops'" in find("#findings").text)
    assert find("#status").text == "● not saved"
    find("#findings button").click()
    assert browser.switch_to.active_element.get_attribute("data-name") == "prompt.jinja"
    begin += len("With care, ")
    type_at((begin, begin + len("{{ oops }}")), Keys.BACKSPACE)
    until(lambda: "With care" in find("#prompt").text and find("#verdict").text == "no faults")

    hostile = "I love <img src=x onerror=alert(1)>"
    find("#inputs").send_keys(hostile, Keys.ENTER, "Meh")
    find("#inputs").send_keys(Keys.CONTROL, Keys.ENTER)
    until(lambda: len(browser.find_elements("css selector", ".answer")) == 2)
    assert [e.text for e in browser.find_elements("css selector", ".value")] == ["good", "good"]
    assert hostile in find("#answers").text
    assert find(".track i").size["width"] == pytest.approx(0.9 * find(".track").size["width"], abs=2)

    find("#forms-text").click()
    assert find("#prompt").text.endswith("Mood:")
    find("#forms-text").send_keys(Keys.ARROW_LEFT)
    assert find("#forms-chat").get_attribute("aria-selected") == "true"

    find("#compare").click()
    until(lambda: "1 answer changed" in find("#comparison").text)
    assert [e.text for e in browser.find_elements("css selector", ".figures strong")] == ["0.667", "1.000", "+0.333"]
    assert "▲ good" in find("#comparison table").text

    find("#inputs").send_keys(Keys.CONTROL, "s")
    until(lambda: find("#status").text == "saved")
    assert (mood / "prompt.jinja").read_text(encoding="utf-8").startswith("{% block instruction %}With care, Say")

    find("#new").click()
    find("#fresh-name").send_keys("Not a name", Keys.ENTER)
    until(lambda: "is not a task name" in find("#fresh-error").text)
    find("#fresh-name").clear()
    find("#fresh-name").send_keys("ticket")
    find("#fresh-labels").send_keys("bug, question", Keys.ENTER)
    until(lambda: find("#path").text == str(mood.parent / "ticket"))
    groups = [e.get_attribute("label") for e in browser.find_elements("css selector", "#task optgroup")]
    assert (groups, find("#model").text) == (["Yours", "Shipped"], "asks scripted")
    find("#task option[value=sentiment]").click()
    until(lambda: find("#path").text.endswith("sentiment") and find("#verdict").text)
    for answer in (None, "tone"):
        find("#save").click()
        until(lambda: expected_conditions.alert_is_present()(browser))
        asked = browser.switch_to.alert
        assert "sentiment ships with a package and is not changed" in asked.text
        if answer is None:
            asked.dismiss()
        else:
            asked.send_keys(answer)
            asked.accept()
    until(lambda: find("#path").text == str(mood.parent / "tone"))
    assert sorted(path.name for path in mood.parent.iterdir()) == ["mood", "ticket", "tone"]

    for width in (1280, 400):
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        inner, outer = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert inner <= outer == width
        assert browser.save_screenshot(str(tmp_path / f"lab-{width}.png"))
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert ["/api/new" in message and "422" in message for message in severe] == [True]
