"""Lines on the registry: its commands, many versions, a team's registry, and MLflow beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.lines.line import Line, compared, rows_by
from benchmarks.records import Record

COMMANDS = "Commands"
MANY = "Many versions, ledger rows, models and runs"
TEAM = "A team's registry, in PostgreSQL and S3"
MLFLOW = "The registry beside MLflow"
PAGES = "The registry in a browser"
LARGE = "Large data and large model files"


def cli(record: Record) -> Iterator[Line]:
    commands = rows_by(record.content, "command")
    base = commands.pop("imports alone")
    for name, row in commands.items():
        cpu = (row["cpu_ms"], base["cpu_ms"])
        yield Line(
            COMMANDS,
            f"`{name.replace(' bench@1', ' REF').replace(' bench', ' MODEL')}`",
            f"{cpu[0]} CPU ms; {row['wall_ms']} ms",
            f"{cpu[1]} CPU ms; {base['wall_ms']} ms",
            "the imports of such a command alone",
            compared(cpu, (row["wall_ms"], base["wall_ms"])),
            record.content["rounds"],
            cpu[0] / cpu[1],
            headline=name == "mlreg list",
        )


def registry(record: Record) -> Iterator[Line]:
    result = record.content
    for name, row in rows_by(result, "command").items():
        yield Line(
            MANY,
            f"`mlreg {name}`, {result['many']:,} versions",
            f"{row['many_ms']} CPU ms",
            f"{row['few_ms']} CPU ms",
            f"with {result['few']}",
            compared((row["many_ms"], row["few_ms"])),
            result["rounds"],
            row["many_ms"] / row["few_ms"],
        )
    operations = rows_by(result, "operation")
    operations.pop("import and open", None)  # this process has imported mlreg already
    for name, row in operations.items():
        calls = result["versions"] if name.startswith("register") else result["calls"]
        what = f"{name}, as a library" + (f" (of {result['versions']:,})" if name == "list" else "")
        alone = ", a version without a run" if name == "register" else ""
        yield _beside_mlflow(what, row, f"MLflow {result['mlflow']} with SQLite{alone}", calls)


def large_file(record: Record) -> Iterator[Line]:
    """Beside the plain tools on the same file, unless a command does not read all of it."""
    sides = rows_by(record.content, "side")
    plain = {name: sides.pop(name) for name in ("sha256sum, cp, sync", "sha256sum")}
    size = record.content["gigabytes"]
    for name, row in sides.items():
        cpu, wall = row["cpu_seconds"], row["wall_seconds"]
        beside = theirs = ratio = ""
        cost = cpu
        if row["read_megabytes"] >= 1000 * size:
            beside = "sha256sum, cp, sync"
            if name in ("verify", "promote"):  # which write nothing
                beside = "sha256sum"
            tool = plain[beside]
            theirs = f"{tool['cpu_seconds']} CPU s; {tool['wall_seconds']} s"
            ratio = compared((cpu, tool["cpu_seconds"]), (wall, tool["wall_seconds"]))
            cost = cpu / tool["cpu_seconds"]
        yield Line(
            LARGE,
            f"{name}, a model file of {size:g} GB",
            f"{cpu} CPU s; {wall} s; {row['peak_megabytes']} MB; "
            f"{row['read_megabytes']:,} MB read, {row['written_megabytes']:,} MB written",
            theirs,
            beside and f"`{beside}`",
            ratio,
            record.content["rounds"],
            cost,
        )


def team(record: Record) -> Iterator[Line]:
    """Wall time, as most of it passes in the servers."""
    result = record.content
    for name, row in rows_by(result, "call").items():
        yield Line(
            TEAM,
            f"{name}, {result['versions']:,} versions",
            f"{row['many_ms']} ms",
            f"{row['few_ms']} ms",
            f"with {result['few']:,}",
            compared(wall=(row["many_ms"], row["few_ms"])),
            result["rounds"],
            row["many_ms"] / row["few_ms"],
        )
    for name, row in rows_by(result, "operation").items():
        beside = f"MLflow {result['mlflow']} with the same PostgreSQL and S3"
        yield _beside_mlflow(f"a team's registry: {name}", row, beside, result["rounds"])


def _beside_mlflow(what: str, row: Any, beside: str, n: object) -> Line:
    """CPU time first, where a record has it."""
    wall = (row["mlreg_ms"], row["mlflow_ms"])
    cpu = (row["mlreg_cpu_ms"], row["mlflow_cpu_ms"]) if "mlflow_cpu_ms" in row else None
    values = [(f"{cpu[side]} CPU ms; " if cpu else "") + f"{wall[side]} ms" for side in (0, 1)]
    first = cpu or wall
    ratio = compared(cpu, wall)
    headline = what.startswith("register") and what.endswith("as a library")
    return Line(MLFLOW, what, *values, beside, ratio, n, first[0] / first[1], headline)


def scale(record: Record) -> Iterator[Line]:
    """CPU time; for reading, also wall time, because several threads read."""
    result = record.content
    for row in result["rows"]:
        if "kind" not in row:
            continue
        beside, wall = f"with {result['few']}", None
        if row["kind"] == "past":
            what = f"`mlreg {row['command']}`, {result['ledger_rows']:,} ledger rows"
        elif row["kind"] == "models":
            what = f"`mlreg list`, {result['models']:,} models"
        else:
            what = f"`mlreg verify`, {result['megabytes']:,} MB"
            beside, wall = "SHA-256 alone, in one thread", (row["wall_ratio"], 1.0)
        cpu = (row["many_ms"], row["few_ms"])
        yield Line(
            MANY,
            what,
            f"{cpu[0]} CPU ms",
            f"{cpu[1]} CPU ms",
            beside,
            compared(cpu, wall),
            result["rounds"],
            cpu[0] / cpu[1],
        )


def lists(record: Record) -> Iterator[Line]:
    result = record.content
    for row in result["rows"]:
        call, is_command = row["call"], row["call"].startswith("mlreg ")
        count = f"{result['versions']:,} versions"
        if "run" in call:
            count = f"{result['runs']:,} stopped runs"
        yield Line(
            MANY,
            f"`{call}`, {count}" if is_command else f"{call}, {count}, as a library",
            f"{row['many_ms']} CPU ms",
            f"{row['few_ms']} CPU ms",
            f"with {result['few']}",
            compared((row["many_ms"], row["few_ms"])),
            result["rounds"],
            row["many_ms"],
        )


def web(record: Record) -> Iterator[Line]:
    """The wall time that a browser waits."""
    result = record.content
    size = f"{result['versions']:,} versions, {result['runs']:,} stopped runs"
    for name, row in rows_by(result, "page").items():
        yield Line(
            PAGES,
            f"the page: {name}",
            f"{row['first_byte_ms']} ms to the first byte",
            beside=f"of a registry with {size}",
            n=result["rounds"],
            cost=row["first_byte_ms"],
        )
    for row in result["rows"]:
        if "memory_mb" in row:
            yield Line(
                PAGES,
                f"memory of `mlreg ui` after {result['requests']:,} requests",
                f"{row['memory_mb']} MB",
                f"{row['memory_at_first_mb']} MB",
                "before the first",
                n=1,
                cost=row["memory_mb"],
            )
