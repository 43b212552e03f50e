"""A registry with something of everything, and a browser without windows that is signed in."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, unquote, urlencode, urlsplit

from cli_helpers import damage, fill, stop
from sweep_helpers import evidence, keep, made_sweep, registered_sweep

from registry_core.plugins.manager import PluginSet
from registry_core.registry import Registry
from registry_core.rules import PromotionRule
from registry_core.settings import Settings
from registry_core.web import make_app

PORT = 8321
HOME = f"http://127.0.0.1:{PORT}"
TOKEN = "one-time"

# what must never reach a page as it is
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
GROUP = "a" * 12


@dataclass
class World:
    """A registry, and the names that addresses need.

    Args:
        registry: `flowers` with five versions, the newest damaged, two of them a group; `trees`.
        run: the id of a stopped run.
        damaged_run: the id of a run whose record cannot be read.
    """

    registry: Registry
    run: str
    damaged_run: str
    words: dict[str, str] = field(default_factory=dict)

    def path(self, template: str, **words: str) -> str:
        """An address with the names that this registry has."""
        known = {**self.words, **words}
        return re.sub(r"\{(\w+)(:path)?\}", lambda found: known[found[1]], template)

    def rows(self) -> int:
        """The last row of the ledger: it is another one if anything was changed."""
        number: int = self.registry.history(limit=1)[0].number
        return number


def make_world(folder: Path, **rules: PromotionRule) -> World:
    """A registry with models, aliases, tags, a group, damage, and runs without versions."""
    where = folder / "registry"
    store = fill(where, 0.5, 0.6, dataset="flowers")
    fill(where, 0.7, 0.8, dataset="flowers", group=GROUP)
    fill(where, 0.4, 0.9, dataset="flowers", data=_data(HOSTILE))
    fill(where, 0.5, model="trees")
    *_, second, first = store.versions("flowers")
    store.move_alias(first, "production")
    store.move_alias(second, "production", "the <b>better</b> one")
    store.tag(second, {"reviewed": HOSTILE}, [], HOSTILE)
    damage(store, store.versions("flowers")[1])
    run = stop(store, failed=HOSTILE)
    damaged_run = stop(store)
    (where / "runs" / damaged_run / "run.json").write_text("{")
    failed = replace(made_sweep().trials[6], error=HOSTILE)
    sweep = keep(store, made_sweep(9, state="stopped"), registered_sweep().with_trial(failed))[1]
    fill(where, 0.5, model="picked", dataset="flowers", sweep=evidence(id=sweep))
    world = World(Registry(where, Settings(promotion=rules)), run, damaged_run)
    world.registry.set_rule("stable", approvals=1, versus_incumbent="off")
    with patch.dict(os.environ, LOGNAME="ann"):
        asked = world.registry.request_promotion(
            "flowers@1", "stable", reason=HOSTILE, plugins=PluginSet(None, [])
        )
    assert asked.request is not None
    world.words = {
        "name": "flowers",
        "selector": "2",
        "alias": "production",
        "group": GROUP,
        "run": run,
        "sweep": sweep,
        "number": str(asked.request.number),
        "path": "figures/loss.png",
        "file": "live.js",
    }
    return world


@dataclass(frozen=True)
class Answer:
    """What the application answered; of a header that came twice, the last."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Browser:
    """Sends requests to an application as they are written, and keeps its cookies.

    Args:
        app: the application.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.cookies: dict[str, str] = {}
        self.host = f"127.0.0.1:{PORT}"
        self.last: Answer | None = None
        self._loop = asyncio.new_event_loop()

    def get(self, address: str, query: Any = (), **headers: str) -> Answer:
        return self.ask("GET", address, query, headers)

    def post(self, address: str, form: Mapping[str, str], **headers: str) -> Answer:
        """Send a form as a page of this server does."""
        return self.ask("POST", address, (), {"origin": HOME, **headers}, form=form)

    def ask(
        self,
        method: str,
        address: str,
        query: Any = (),
        headers: Mapping[str, str | None] | Sequence[tuple[str, str]] = (),
        *,
        form: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Send one request.

        Args:
            method: the method.
            address: the path, with percent signs where it is encoded, and the query.
            query: more fields of the query.
            headers: instead of those that a browser sends; None leaves one out.
            form: what the body is made of.
            body: the body.
        """
        parts = urlsplit(address)
        sent = {"host": self.host}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if form is not None:
            body = urlencode(form).encode()
            sent["content-type"] = "application/x-www-form-urlencoded"
        sent |= {name.replace("_", "-"): value for name, value in dict(headers).items()}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(parts.path),
            "raw_path": quote(parts.path, safe="/%").encode(),
            "query_string": "&".join(filter(None, (parts.query, urlencode(query)))).encode(),
            "root_path": "",
            "headers": [
                (name.encode(), value.encode()) for name, value in sent.items() if value is not None
            ],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", PORT),
        }
        answer = self._loop.run_until_complete(self._send(scope, body))
        if cookie := answer.headers.get("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    async def _send(self, scope: dict[str, Any], body: bytes) -> Answer:
        messages: list[Any] = []

        bodies = [body]

        async def receive() -> dict[str, Any]:
            if not bodies:
                await asyncio.Event().wait()  # the browser stays
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        try:
            await self.app(scope, receive, send)
        finally:
            start, *rest = messages
            headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
            content = b"".join(each.get("body", b"") for each in rest)
            self.last = Answer(start["status"], headers, content)
        return self.last


def browser(world: World, **options: Any) -> Browser:
    """A browser that has not signed in yet."""
    return Browser(make_app(world.registry, port=PORT, token=TOKEN, **options))


def signed_in(world: World, **options: Any) -> Browser:
    client = browser(world, **options)
    assert client.get(f"/?token={TOKEN}").status == 200
    return client


def hidden_fields(page: str) -> dict[str, str]:
    """What the forms on a page carry beside what a person types."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))


def change(inside: Browser, address: str, **fields: str) -> Answer:
    """Send the form of a page, with some fields filled in."""
    page = inside.get(address).text
    hidden = hidden_fields(page)
    return inside.post(address.partition("?")[0], hidden | fields)


def form_token(page: str) -> str:
    """The token of the form on a page."""
    return re.findall(r'name="form" value="([^"]+)"', page)[0]


def _data(class_name: str) -> dict[str, Any]:
    split = {"examples": 30, "fingerprint": "sha256:" + "0" * 64}
    return {
        "source": "drawn",
        "class_names": [class_name, "rose"],
        "splits": {"train": split, "test": split},
    }
