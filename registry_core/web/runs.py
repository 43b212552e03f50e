"""The pages of runs: which there are, and how one of them goes, again and again while it does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from registry_core.errors import MlregError, UsageError
from registry_core.sections import LineChart, Series
from registry_core.web.site import PAGE_ROWS, Malformed, View, attempt, changed_only

if TYPE_CHECKING:
    from starlette.requests import Request

    from registry_core.records import RunLog
    from registry_core.web.site import Site

_RUN = re.compile(r"[0-9A-Za-z-]{4,64}")

# the last lines of a log
_LOG_LINES = 200

_VALIDATION = "val_"

_STAGES = {
    "data": "loading the data",
    "model": "preparing the model",
    "fit": "training",
    "evaluate": "evaluating",
    "validate": "evaluating",
    "save": "saving",
    "plot": "drawing the figures",
    "register": "registering",
}


def list_runs(site: Site, request: Request) -> View:
    """Runs that are running, stopped, failed, finished; newest first."""
    after = request.query_params.get("after") or None
    found = site.registry.runs(PAGE_ROWS, after=after)
    by_state: dict[str, list[Any]] = {}
    for each in found.unfinished:
        by_state.setdefault(each.run.state, []).append(each)
    return View(
        "runs.html",
        {
            "title": "Runs",
            "by_state": by_state,
            "finished": found.finished,
            "next": site.url("runs", after=found.next) if found.next else None,
            "first": site.url("runs") if after else None,
        },
        found.to_json(),
    )


def show_run(site: Site, request: Request) -> View:
    """One run: how far it is, its curves, the end of its log."""
    name = request.path_params["run"]
    if not _RUN.fullmatch(name):
        raise Malformed(UsageError("That cannot be the id of a run.", "Use the page's links."))
    alerts: list[MlregError] = []
    progress = site.registry.run_progress(name)
    log = attempt(lambda: _log(site, name), alerts)
    content: dict[str, Any] = progress.to_json()
    content["log"] = list(log.lines[-_LOG_LINES:]) if log else []
    if alerts:
        content["errors"] = [error.to_json() for error in alerts]
    return View(
        "run.html",
        {
            "title": f"Run {name}",
            "run": name,
            "progress": progress,
            "charts": _charts(progress.metrics),
            "lines": content["log"],
            "alerts": alerts,
            "stages": _STAGES,
            "is_running": progress.state == "running",
        },
        content,
    )


def show_live(site: Site, request: Request) -> Response:
    """The part of a run's page that changes; 304 if it is what the browser has."""
    return changed_only(site, request, "live.html", show_run(site, request))


def _log(site: Site, run: str) -> RunLog | None:
    """The log of a run; None where there is none, as an older mlreg wrote it."""
    try:
        return site.registry.run_log([run])
    except UsageError:
        return None


def _charts(metrics: Mapping[str, Sequence[float | None]]) -> list[LineChart]:
    """A chart for each metric, with that of the validation split in it."""
    names = dict.fromkeys(name.removeprefix(_VALIDATION) for name in metrics)
    charts = []
    for name in names:
        lines = {"training": metrics.get(name), "validation": metrics.get(_VALIDATION + name)}
        series = [Series(split, values) for split, values in lines.items() if values]
        if series:
            charts.append(LineChart(name.replace("_", " "), series, x_label="epoch"))
    return charts
