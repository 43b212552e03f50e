"""Every attack on every address: the list of routes is the application's own."""

from __future__ import annotations

import tempfile
from urllib.parse import quote

import pytest
from starlette.routing import Route
from web_helpers import HOME, HOSTILE, browser, form_token, hidden_fields, make_world, signed_in

from registry_core.web.access import HEADERS

pytestmark = pytest.mark.drawn

# each is tried in every part of every address, and in every field of every query
ODD = [
    "../../registry.sqlite3",
    "..%2F..%2Fregistry.sqlite3",
    "/etc/passwd",
    "a\x00b",
    "9" * 30,
    "²",
    "flowers@1@2",
    "'; DROP TABLE versions; --",
    "%0d%0aSet-Cookie: a=b",
    HOSTILE,
]
# page -> the fields of the query that it reads
READ = {
    "/": ["after"],
    "/models/{name}": ["where", "preset", "tag", "sort", "after"],
    "/models/{name}/{selector}": ["moved"],
    "/models/{name}/{selector}/promote": ["alias", "group"],
    "/compare": ["ref"],
    "/ledger": ["model", "alias", "before"],
    "/runs": ["after"],
}
FIELDS = sorted({field for fields in READ.values() for field in fields})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("attacked"))


@pytest.fixture(scope="module")
def inside(world):
    """A browser that is signed in."""
    return signed_in(world)


def routes(world) -> list[tuple[str, str]]:
    """Method and template of every address."""
    found = [
        (method, route.path)
        for route in browser(world).app.routes
        if isinstance(route, Route)
        for method in sorted(route.methods or ())
    ]
    assert {"GET", "HEAD", "POST"} == {method for method, _ in found}
    return found


def test_the_application_has_no_other_kind_of_route(world):
    """A mount or a websocket would be outside of these tests."""
    assert all(isinstance(route, Route) for route in browser(world).app.routes)


@pytest.mark.parametrize(
    "host",
    ["example.org", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:8321.example.org", "", "localhost."],
)
def test_a_foreign_host_is_refused_everywhere(world, host):
    """Also with the cookie: the browser of a victim has it. This stops rebound names."""
    client = signed_in(world)
    for method, path in routes(world):
        answer = client.ask(method, world.path(path), headers={"host": host})
        assert answer.status == 421, (method, path)
    assert browser(world).get("/?token=one-time", host=host).status == 421


@pytest.mark.parametrize("cookie", [None, "", "wrong", "é", HOSTILE.replace(";", "")])
def test_without_the_sessions_cookie_every_address_is_refused(world, cookie):
    """Files alike; the page says how to sign in."""
    client, before = browser(world), world.rows()
    client.cookies = {} if cookie is None else {"mlreg-8321": cookie}
    for method, path in routes(world):
        answer = client.ask(method, world.path(path))
        assert answer.status == 401, (method, path)
        assert method == "HEAD" or "mlreg ui" in answer.text
    assert world.rows() == before


def test_the_token_works_once(world):
    """Not twice, not wrongly, not by HEAD, not on another page; the cookie then does."""
    client = browser(world)
    for address in ("/?token=wrong", "/?token=", "/runs?token=one-time"):
        assert client.get(address).status == 403
    assert client.ask("HEAD", "/?token=one-time").status == 403
    answer = client.get("/?token=one-time")
    assert answer.status == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "one-time" not in client.get("/").text
    assert client.get("/?token=one-time").status == 200  # signed in: leads on
    client.cookies.clear()
    again = client.get("/?token=one-time")
    assert again.status == 403
    assert "set-cookie" not in again.headers


def test_each_token_that_was_used_is_followed_by_another(world):
    """A second browser enters with it, once; a wrong token brings none."""
    tokens = []
    first = browser(world, renewed=tokens.append)
    assert first.get("/?token=wrong").status == 403
    assert tokens == []
    assert first.get("/?token=one-time").status == 200
    first.cookies.clear()
    assert [first.get(f"/?token={tokens[0]}").status for _ in range(2)] == [200, 200]
    first.cookies.clear()
    assert first.get(f"/?token={tokens[0]}").status == 403
    assert len(set(tokens)) == 2


def test_two_servers_share_no_session(world):
    """The cookie of one is not that of another, nor the token of its forms."""
    first, second = signed_in(world), browser(world)
    second.cookies.update(first.cookies)
    assert second.get("/").status == 401
    other = signed_in(world)
    token = form_token(first.get("/models/flowers/3/promote?alias=staging").text)
    form = {"form": token, "alias": "staging", "expected": "none"}
    answer = other.post("/models/flowers/3/promote", form)
    assert answer.status == 403


CROSS_SITE = {
    "no origin": {},
    "another site": {"origin": "https://example.org"},
    "a hidden origin": {"origin": "null"},
    "another port": {"origin": "http://127.0.0.1:9000"},
    "another host": {"origin": "http://localhost:8321"},
    "a longer host": {"origin": f"{HOME}.example.org"},
    "said by the browser": {"origin": HOME, "sec-fetch-site": "cross-site"},
    "another port, said by the browser": {"origin": HOME, "sec-fetch-site": "same-site"},
}


@pytest.mark.parametrize("headers", CROSS_SITE.values(), ids=CROSS_SITE)
def test_a_change_that_another_site_asks_for_is_refused_everywhere(world, inside, headers):
    """On every address and by every method that is not reading, with the right cookie and token."""
    before = world.rows()
    token = form_token(inside.get("/models/flowers/3/promote?alias=staging").text)
    form = {"form": token, "alias": "staging", "expected": "none", "reason": "-", "force": "yes"}
    for _, path in routes(world):
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            answer = inside.ask(method, world.path(path), headers=headers, form=form)
            assert answer.status == 403, (method, path)
    assert world.rows() == before


@pytest.mark.parametrize("token", [None, "", "wrong", "é"])
def test_a_form_without_the_sessions_token_is_refused_everywhere(world, inside, token):
    """With the right cookie and origin."""
    before = world.rows()
    form = {"alias": "staging", "expected": "none"} | ({} if token is None else {"form": token})
    for _, path in routes(world):
        answer = inside.post(world.path(path), form)
        assert answer.status == 403, path
    assert world.rows() == before


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"form": "x"}', "application/json", 415),
        (b"form=x", "text/plain", 415),
        (b"form=x", "multipart/form-data; boundary=x", 415),
        (b"form=" + b"x" * 100_000, "application/x-www-form-urlencoded", 413),
        (b"&".join([b"a=b"] * 100), "application/x-www-form-urlencoded", 400),
        (b"form=\xff", "application/x-www-form-urlencoded", 400),
        (b"form=%ff", "application/x-www-form-urlencoded", 400),
    ],
)
def test_a_body_that_is_no_short_form_is_refused(world, inside, content, kind, status):
    """Only a form's own type: others are what another site can send, or are not needed."""
    headers = {"origin": HOME, "content-type": kind}
    answer = inside.ask("POST", "/models/flowers/3/promote", headers=headers, body=content)
    assert answer.status == status


@pytest.mark.gate
def test_odd_words_in_every_part_of_every_address_find_nothing(world, inside):
    """They are refused, or name something that is not there; none is a bug."""
    before = world.rows()
    token = form_token(inside.get("/models/flowers/3/promote?alias=staging").text)
    form = {"form": token, "alias": "staging", "expected": "none", "reason": "-", "verdict": "-"}
    for method, path in routes(world):
        parts = [part for part in world.words if "{" + part in path]
        for part in parts:
            for odd in ODD:
                address = world.path(path, **{part: quote(odd, safe="%/")})
                answer = inside.post(address, form) if method == "POST" else inside.get(address)
                assert answer.status in (400, 404), (path, part, odd, answer.status)
                assert b"SQLite" not in answer.content
                assert b"root:" not in answer.content
                assert set(inside.cookies) == {"mlreg-8321"}
    assert world.rows() == before


@pytest.mark.gate
def test_odd_words_in_every_field_of_a_query_are_harmless(world, inside):
    """A page or an error; never a bug, and never the word itself as HTML."""
    for path, fields in READ.items():
        for field in fields:
            for odd in ODD:
                answer = inside.get(world.path(path), {field: odd})
                assert answer.status in (200, 400), (path, field, odd)
                assert "<script>alert" not in answer.text


def test_a_field_that_no_page_reads_is_harmless_everywhere(world, inside):
    """All fields of all pages at once, on each address."""
    for path in {path for method, path in routes(world) if method == "GET"}:
        answer = inside.get(world.path(path), dict.fromkeys(FIELDS, HOSTILE))
        assert answer.status in (200, 400, 404), path
        assert "<script>alert" not in answer.text or _is_text(answer)


@pytest.mark.gate
def test_odd_words_in_a_form_are_refused(world, inside):
    """An alias, an expected holder, a verdict."""
    before = world.rows()
    shown = hidden_fields(inside.get("/models/flowers/3/promote?alias=staging").text)
    for field in ("alias", "expected", "verdict"):
        for odd in [*ODD, ""]:
            form = shown | {field: odd}
            answer = inside.post("/models/flowers/3/promote", form)
            assert answer.status in (400, 409), (field, odd)
            assert "<script>alert" not in answer.text
    assert world.rows() == before


def test_every_answer_has_the_headers_that_restrict_a_browser(world, inside):
    """Pages, twins, files, errors and refusals."""
    answers = [inside.ask(method, world.path(path)) for method, path in routes(world)]
    answers += [browser(world).get("/"), inside.get("/nothing"), inside.get("/models/x/1")]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (answer, name)
        assert "server" not in answer.headers
    policy = HEADERS["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_files_of_a_version_are_saved_and_never_shown(world, inside, tmp_path, monkeypatch):
    """Whatever their names: a report is HTML that a plugin wrote. No copy is left behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for version in world.registry.versions("flowers")[2:]:
        for file in version.files:
            answer = inside.get(f"/models/flowers/{version.version}/files/{file.path}")
            assert answer.status == 200
            assert answer.headers["content-disposition"].startswith("attachment; ")
            assert answer.headers["content-type"] == "application/octet-stream"
            assert len(answer.content) == file.size == int(answer.headers["content-length"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "path", ["/", "/models/flowers", "/models/flowers/2", "/ledger", "/runs", "/requests"]
)
def test_html_in_names_tags_and_reasons_is_text(world, inside, path):
    """Class names, tags, reasons and errors as they were written, and no element made of them."""
    page = inside.get(path).text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "<b>better" not in page


def test_what_people_wrote_is_on_the_pages(world, inside):
    """The test above looked where there is something to find."""
    for path, words in {
        "/models/flowers": ["&lt;script&gt;alert(1)"],
        "/models/flowers/2": ["&lt;script&gt;alert(1)"],
        "/ledger": ["&lt;script&gt;alert(1)", "the &lt;b&gt;better"],
        f"/runs/{world.run}": ["&lt;script&gt;alert(1)"],
    }.items():
        for word in words:
            assert word in inside.get(path).text, path


def _is_text(answer) -> bool:
    return not answer.headers["content-type"].startswith("text/html")
