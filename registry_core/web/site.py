"""What all pages share: the registry, the templates, and how a page and its JSON twin are made."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

import jinja2
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from registry_core import formatting
from registry_core.errors import (
    AliasMovedError,
    BusyError,
    IntegrityError,
    MlregError,
    PluginError,
    RefusedError,
    RuleChangedError,
    StorageError,
    UsageError,
)
from registry_core.evaluation.wording import format_row_group
from registry_core.promotion.gates import VerdictChangedError
from registry_core.reports import charts
from registry_core.reports.html import render_sections

if TYPE_CHECKING:
    from starlette.requests import Request

    from registry_core.records import LedgerRow, Version
    from registry_core.registry import Registry

SCHEMA = 1

# the most rows of one page
PAGE_ROWS = 50

_Found = TypeVar("_Found")

# the first that fits
_STATUS: Sequence[tuple[type[MlregError], int]] = (
    (AliasMovedError, 409),
    (RuleChangedError, 409),
    (VerdictChangedError, 409),
    (BusyError, 503),
    (UsageError, 400),
    (RefusedError, 422),
    (IntegrityError, 500),
    (StorageError, 500),
    (PluginError, 500),
)


class Malformed(Exception):  # noqa: N818 - it carries an error
    """A part of an address that the grammar of references refuses."""

    def __init__(self, error: MlregError) -> None:
        super().__init__(error.what)
        self.error = error


@dataclass(frozen=True)
class View:
    """What one address shows.

    Args:
        template: of the page.
        values: for the template.
        content: of the JSON twin.
        status: of both.
    """

    template: str
    values: Mapping[str, Any]
    content: Mapping[str, Any]
    status: int = 200


@dataclass(frozen=True)
class Site:
    """The pages of one registry.

    Args:
        registry: the registry.
        root: the path below which a proxy shows the pages, without a slash at its end.
        form_token: what every form carries.
        changing: held by what asks plugins, which may not run twice at once.
    """

    registry: Registry
    root: str
    form_token: str
    changing: threading.Lock = field(default_factory=threading.Lock)
    templates: jinja2.Environment = field(init=False)

    def __post_init__(self) -> None:
        templates = jinja2.Environment(
            loader=jinja2.PackageLoader("registry_core.web", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_printable,
        )
        templates.globals.update(
            url=self.url,
            file_url=self.file_url,
            evidence=_evidence,
            group_choice=format_row_group,
            form_token=self.form_token,
            registry=self.registry.place.name,
            draw=charts.draw,
            sparkline=charts.sparkline,
            render_sections=render_sections,
        )
        templates.filters.update(
            age=formatting.age,
            when=formatting.when,
            size=formatting.size,
            duration=formatting.duration,
        )
        for name in ("counted", "fraction", "signed", "spread"):
            templates.globals[name] = getattr(formatting, name)
        object.__setattr__(self, "templates", templates)

    def url(self, *parts: object, **query: object) -> str:
        """The address of a page: `url("models", "flowers", 3)`; None leaves a field out."""
        path = "/".join(quote(str(part), safe="") for part in parts)
        fields = urlencode(
            {name: value for name, value in query.items() if value not in (None, "", [])},
            doseq=True,
        )
        return f"{self.root}/{path}{f'?{fields}' if fields else ''}"

    def file_url(self, version: Version, path: str) -> str:
        """The address at which a file of a version can be downloaded."""
        return f"{self.url('models', version.model, version.version, 'files')}/{quote(path)}"

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        return self.templates.get_template(template).render(**values)

    def page(self, view: View) -> Response:
        return HTMLResponse(self.render(view.template, view.values), view.status)

    def error(self, request: Request, error: MlregError, status: int) -> Response:
        """An error as a page, or as JSON where the address is that of a twin."""
        if request.scope["path"].endswith(".json"):
            return json_response({"error": error.to_json()}, status)
        return self.page(View("error.html", {"title": "Error", "error": error}, {}, status))


def status_of(request: Request, error: MlregError) -> int:
    """The status of an error.

    A wrong word in the query or a form is the request's fault; without these, an address names
    something that is not there.
    """
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if isinstance(error, UsageError) and request.method in ("GET", "HEAD"):
        return 400 if request.query_params else 404
    return status


def json_response(content: Mapping[str, Any], status: int = 200) -> Response:
    """`{"schema": 1, …}`, as `--json` prints it."""
    text = json.dumps({"schema": SCHEMA, **content}, indent=2)
    return Response(text, status, media_type="application/json")


def twins(site: Site, path: str, load: Callable[[Site, Request], View]) -> list[Route]:
    """The routes of a page and of its JSON twin.

    Args:
        site: the site.
        path: of the page; that of the twin ends in `.json`.
        load: finds what is shown.
    """

    def twin(request: Request) -> Response:
        view = load(site, request)
        return json_response(view.content, view.status)

    def page(request: Request) -> Response:
        return site.page(load(site, request))

    name = path.strip("/") or "index"
    json_path = "/index.json" if path == "/" else f"{path}.json"
    return [Route(json_path, twin, name=f"{name}.json"), Route(path, page, name=name)]


def changed_only(site: Site, request: Request, template: str, view: View) -> Response:
    """A part of a page that is asked for again and again; 304 if it is what the browser has."""
    text = site.render(template, view.values)
    tag = f'"{sha256(text.encode()).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"etag": tag})
    return HTMLResponse(text, headers={"etag": tag})


def attempt(find: Callable[[], _Found], alerts: list[MlregError]) -> _Found | None:
    """What a part of a page shows; None where it fails, and the error among the alerts."""
    try:
        return find()
    except MlregError as error:
        alerts.append(error)
        return None


def parsed(parse: Callable[..., _Found], *words: str) -> _Found:
    """What a word of an address means.

    Raises:
        Malformed: it cannot mean anything.
    """
    try:
        return parse(*words)
    except MlregError as error:
        raise Malformed(error) from error


def number(text: str | None) -> int | None:
    """A positive whole number of an address; None for none.

    Raises:
        Malformed: it is none.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Malformed(UsageError("That is not a number of a page.", "Use the page's links."))
    return int(text)


def _evidence(row: LedgerRow) -> list[str]:
    """What a row of the ledger rests on, as lines of JSON."""
    return json.dumps(dict(row.evidence), indent=2, ensure_ascii=False).splitlines()


def _printable(value: object) -> object:
    """Text as it is shown: a name cannot hide its end, nor turn what follows around."""
    return formatting.literal(value) if type(value) is str else value
