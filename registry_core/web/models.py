"""The pages of models, of a model's versions, and of one version with its files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from registry_core.errors import MlregError, UsageError
from registry_core.refs import Ref, check_model_name, parse_ref
from registry_core.results import VersionDetails, VersionList
from registry_core.web.site import PAGE_ROWS, View, attempt, parsed

if TYPE_CHECKING:
    from starlette.requests import Request

    from registry_core.records import ModelSummary, Version
    from registry_core.web.site import Site

# metrics of one row of the table of versions
_COLUMNS = 4

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class ModelRow:
    """A model, its best version and by what, or why that cannot be said."""

    summary: ModelSummary
    best: Version | None
    best_by: str
    error: MlregError | None


def list_models(site: Site, request: Request) -> View:
    """A page of models: their versions, the latest one, their aliases, the best metric."""
    after = request.query_params.get("after", "")
    if after:
        parsed(check_model_name, after)
    found = site.registry.models(PAGE_ROWS, after=after)
    return View(
        "models.html",
        {
            "title": "Models",
            "rows": [_model_row(site, summary) for summary in found],
            "next": site.url(after=found.next) if found.next else None,
            "first": site.url() if after else None,
        },
        {**found.to_json(), "next": found.next},
    )


def _model_row(site: Site, summary: ModelSummary) -> ModelRow:
    alerts: list[MlregError] = []
    best, by = attempt(lambda: site.registry.best(summary.name), alerts) or (None, "")
    return ModelRow(summary, best, by, alerts[0] if alerts else None)


def list_versions(site: Site, request: Request) -> View:
    """A model's versions, as the query filters and sorts them."""
    name = parsed(check_model_name, request.path_params["name"])
    query = request.query_params
    asked = {key: query.get(key, "").strip() for key in ("where", "preset", "tag", "sort", "after")}
    conditions = asked["where"].split()
    conditions += [f"preset={asked['preset']}"] if asked["preset"] else []
    key, equals, value = asked["tag"].partition("=")
    tag = (key.strip(), value.strip() if equals else None) if asked["tag"] else None
    alerts: list[MlregError] = []
    values: dict[str, Any] = {
        "title": name,
        "model": name,
        "asked": asked,
        "alerts": alerts,
        "versions": (),
        "metrics": (),
        "curves": {},
        "found": None,
        "next": None,
        "sorting": lambda field: _sorting(site, name, asked, field),
        "first": site.url("models", name, **(asked | {"after": ""})) if asked["after"] else None,
    }
    try:
        found = site.registry.versions(
            name,
            PAGE_ROWS,
            tag,
            where=conditions,
            sort=asked["sort"] or None,
            after=asked["after"] or None,
            check_files=True,
        )
    except UsageError as error:
        if not any(asked.values()):
            raise  # there is no such model
        alerts.append(error)
        return View("versions.html", values, {"error": error.to_json()}, 400)
    values |= {
        "versions": found.versions,
        "found": found,
        "metrics": _common_metrics(found.versions, found.best_by),
        "curves": attempt(lambda: site.registry.curves(found.versions), alerts) or {},
        "next": site.url("models", name, **(asked | {"after": found.next})) if found.next else None,
    }
    return View("versions.html", values, found.to_json())


def _sorting(site: Site, name: str, asked: dict[str, str], field: str) -> Mapping[str, str]:
    """The link that sorts by a column, the other way round where it does already."""
    now = asked["sort"].lstrip("-") == field
    is_descending = asked["sort"].startswith("-")
    sort = field if now and is_descending else f"-{field}"
    state = ("descending" if is_descending else "ascending") if now else "none"
    return {
        "url": site.url("models", name, **(asked | {"sort": sort, "after": ""})),
        "state": state,
        "mark": {"descending": " ↓", "ascending": " ↑", "none": ""}[state],
    }


def _common_metrics(versions: Sequence[Version], best_by: str) -> list[str]:
    """The metrics of the table: what versions are ranked by, then those that most of them have."""
    counts: dict[str, int] = {}
    for version in versions:
        for name in version.metrics:
            counts[name] = counts.get(name, 0) + 1
    objective = best_by.partition(",")[0].partition(" ")[0]
    names = sorted(counts, key=lambda name: (name != objective, -counts[name]))
    return names[:_COLUMNS]


def reference_of(request: Request) -> Ref:
    """The version that an address names."""
    return parsed(parse_ref, request.path_params["name"], request.path_params["selector"])


def show_version(site: Site, request: Request) -> View:
    """One version: its report, its files, what can be done with it."""
    version = site.registry.version(reference_of(request))
    alerts: list[MlregError] = []
    checked = attempt(lambda: _checked(site, version), alerts)
    details = attempt(lambda: site.registry.show(version), alerts)
    report = attempt(lambda: site.registry.report(version), alerts)
    content: dict[str, Any] = details.to_json() if details else {"version": version.to_json()}
    if report:
        content["report"] = report.to_json()
    if alerts:
        content["errors"] = [error.to_json() for error in alerts]
    moved = request.query_params.get("moved", "")
    return View(
        "version.html",
        {
            "title": version.ref,
            "version": version,
            "damage": checked.damaged.get(version.ref, ()) if checked else (),
            "unreadable": checked.unreadable.get(version.ref) if checked else None,
            "group": version.group if details and len(details.together) > 1 else "",
            "signatures": details.signatures if details else (),
            "sweep": _sweep_of(site, details),
            "report": report,
            "alerts": list({str(error): error for error in alerts}.values()),
            # what an address says is shown only if it is so
            "moved": moved if moved in version.aliases else "",
        },
        content,
    )


def _sweep_of(site: Site, details: VersionDetails | None) -> str | None:
    """The id of the sweep that the version was picked from, if this registry has it."""
    recorded = details.manifest.get("sweep") if details else None
    found = str(recorded.get("id")) if isinstance(recorded, Mapping) else None
    return found if found in site.registry.sweep_ids() else None


def _checked(site: Site, version: Version) -> VersionList:
    """A list of one version, with the damage that names and sizes of its files show."""
    return site.registry.versions(
        version.model, 1, where=[f"version={version.version}"], check_files=True
    )


def download(site: Site, request: Request) -> Response:
    """A file of a version, checked against its digest, to be saved and not shown."""
    path = request.path_params["path"]
    version = site.registry.version(reference_of(request))
    with tempfile.TemporaryDirectory(prefix="mlreg-") as folder:
        # the copy has no name any more when it is sent: nothing is left if the browser goes away
        copy = site.registry.copy_file(version, path, Path(folder) / "file").open("rb")
    name = f"{version.model}-{version.version}-{path.replace('/', '-')}"
    return StreamingResponse(
        _pieces(copy),
        headers={
            "content-disposition": f"attachment; filename*=utf-8''{quote(name, safe='')}",
            "content-length": str(os.fstat(copy.fileno()).st_size),
        },
        media_type="application/octet-stream",
    )


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
