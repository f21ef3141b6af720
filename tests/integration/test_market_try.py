"""The box on an expert's page: the shipped experts answer from it, and whatever else is sent gets
a page that says why not."""

import threading

import pytest
from starlette.testclient import TestClient

from tests.support.payloads import PAYLOADS
from xpm.environment import Environment
from xpm.errors import NotFoundError
from xpm.home import Home
from xpm.operations.market_serve import MarketOptions, application
from xpm.operations.trials import Trials
from xpm.progress import Silent
from xpm.site.pages import MAX_PROMPT_CHARS
from xpm.site.trial import Trial

ASK = "Show the name of all users with age above 30. Table users with columns id, name, age"
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"accept": "application/json"}


def environment_in(folder):
    return Environment.find(Home(folder / "home"), folder / "project")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Over the index that comes with xpm, from an empty HOME."""
    environment = environment_in(tmp_path_factory.mktemp("try"))
    with (
        application(environment, "embedded", MarketOptions(runs_trials=True)) as app,
        TestClient(app, base_url="http://localhost", follow_redirects=False) as opened,
    ):
        yield opened


def example_of(client, name):
    return client.get(f"/experts/{name}.json").json()["examples"][0]


@pytest.mark.parametrize("name", ["expert-sql", "expert-json"])
def test_an_expert_answers_as_its_readme_says(client, name):
    example = example_of(client, name)
    trial = client.post(f"/try/{name}", data={"prompt": example["prompt"]}, headers=JSON).json()["trial"]
    assert trial["answer"].strip() == example["answer"].strip()
    assert trial["base"].startswith("xpm-tiny ")
    assert not trial["is_cut"]
    page = client.post(f"/try/{name}", data={"prompt": example["prompt"]})
    assert (page.status_code, page.headers["cache-control"]) == (200, "no-store")
    assert "asked" in page.text
    assert f"{trial['num_tokens']} token" in page.text
    assert ".json" not in page.text.replace("expert-json", "")  # nothing lies at its path


def test_the_form_is_where_an_expert_can_be_tried(client):
    assert 'action="../try/expert-sql"' in client.get("/experts/expert-sql.html").text
    assert "<textarea" not in client.get("/bases/xpm-tiny.html").text
    got = client.get("/try/expert-sql")
    assert (got.status_code, got.headers["location"]) == (303, "/experts/expert-sql.html#try")


@pytest.mark.parametrize(
    ("name", "body", "status", "said"),
    [
        ("expert-nobody", "prompt=x", 404, "There is no such page"),
        ("xpm-tiny", "prompt=x", 404, "There is no such page"),
        ("expert-sql", "prompt=%20%0A", 400, "Write something"),
        ("expert-sql", "", 400, "Write something"),
        ("expert-sql", "prompt=" + "x" * (MAX_PROMPT_CHARS + 1), 413, "at most 4,000 characters"),
        ("expert-sql", "prompt=" + "x" * 100_000, 413, "at most 4,000 characters"),
        ("expert-sql", b"prompt=\xff\xfe", 413, "at most 4,000 characters"),
        ("expert-sql", "&".join(["prompt=x"] * 9), 413, "at most 4,000 characters"),
    ],
)
def test_what_can_t_be_asked_is_told(client, name, body, status, said):
    reply = client.post(f"/try/{name}", content=body, headers=FORM)
    assert reply.status_code == status
    assert said in reply.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://localhost", "sec-fetch-site": "same-origin"}, 400),
        ({"origin": "null", "sec-fetch-site": "same-origin"}, 400),
    ],
)
def test_other_sites_may_not_ask(client, headers, status):
    assert client.post("/try/expert-sql", content="prompt=", headers={**FORM, **headers}).status_code == status


def test_what_is_asked_and_answered_is_text(client, monkeypatch):
    for payload in PAYLOADS[:40]:
        trial = Trial(answer=payload, version="1", base=payload, num_tokens=1, seconds=0.1, is_cut=True)
        monkeypatch.setattr(Trials, "answer", lambda self, name, prompt, given=trial: given)
        page = client.post("/try/expert-sql", data={"prompt": payload}).text
        if "<" in payload:
            assert payload not in page


def test_whoever_comes_while_many_wait_is_sent_away(client, monkeypatch):
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(self, name, prompt):
        begun.release()
        go_on.wait(30)
        return Trial(answer=prompt, version="1", base="b", num_tokens=1, seconds=0.1, is_cut=False)

    monkeypatch.setattr(Trials, "_answered", slow)
    replies = []
    asking = [
        threading.Thread(target=lambda: replies.append(client.post("/try/expert-sql", data={"prompt": "x"})))
        for _ in range(7)
    ]
    for each in asking:
        each.start()
    begun.acquire()
    deadline = threading.Event()
    for _ in range(300):
        if len(replies) == 3:
            break
        deadline.wait(0.1)
    assert [each.status_code for each in replies] == [503] * 3
    assert all(each.headers["retry-after"] for each in replies)
    go_on.set()
    for each in asking:
        each.join()
    assert sorted(each.status_code for each in replies) == [200] * 4 + [503] * 3


def test_where_nobody_may_ask_there_is_no_form(tmp_path):
    with (
        application(environment_in(tmp_path), "embedded", MarketOptions()) as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        assert "<textarea" not in client.get("/experts/expert-sql.html").text
        assert client.post("/try/expert-sql", data={"prompt": "x"}).status_code == 405


def test_what_the_engine_refuses_is_told(index, tmp_path):
    """Random bytes, rightly signed, under the name of an expert for the base that comes with xpm."""
    own = environment_in(tmp_path / "own")
    with Trials(own, progress=Silent()) as trials:
        index.serve("expert-a", "1.1.0", base=trials.base_digest)
    with (
        application(own, str(index.path), MarketOptions(runs_trials=True)) as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        assert "<textarea" in client.get("/experts/expert-a.html").text
        reply = client.post("/try/expert-a", data={"prompt": "x"})
        assert reply.status_code == 422
        assert "It could not be asked" in reply.text
        index.serve("expert-a", "1.2.0", base=trials.base_digest, requires=["expert-b"])
        assert client.post("/try/expert-a", data={"prompt": "x"}).status_code == 404
        assert "<textarea" not in client.get("/experts/expert-a.html").text


def test_while_the_index_can_t_be_read_that_is_what_is_said(client, monkeypatch):
    def unreadable(self, name):
        raise NotFoundError("the index is being written")

    monkeypatch.setattr("xpm.site.live.LiveSite.held", unreadable)
    reply = client.post("/try/expert-sql", data={"prompt": ASK})
    assert (reply.status_code, reply.text, reply.headers["retry-after"]) == (
        503,
        "the index can't be read just now\n",
        "5",
    )
