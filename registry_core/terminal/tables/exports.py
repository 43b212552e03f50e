"""What an export is, and what running it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry_core.formatting import fraction, number, size
from registry_core.terminal.output import stdout
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.evaluation.export_check import ExportCheck, QuantizedTest
    from registry_core.results import ExportedFiles


def show_export(written: ExportedFiles) -> None:
    """Show what was written, its largest difference, its size, its latency."""
    console = stdout()
    console.print(safe_text(f"Wrote {written.version} to {written.path}"))
    if written.check is None:
        return
    for line in _lines(written.check):
        console.print(safe_text(f"  {line}"))


def _lines(check: ExportCheck) -> list[str]:
    many = "the test split" if check.inputs == "test split" else "inputs made from its signature"
    lines = [f"Run on {check.examples} examples of {many}: {_difference(check)}"]
    if check.reason:
        lines.append(f"Not on the test split: {check.reason}")
    if check.batch:
        lines.append(f"It takes {check.batch} example{'s'[: check.batch > 1]} at a time")
    one = f"{check.batch} examples" if (check.batch or 1) > 1 else "One example"
    lines.append(
        f"{size(check.size)}; the .keras file {size(check.keras_size)}. {one}: "
        f"{check.milliseconds:.2f} ms, with Keras {check.keras_milliseconds:.2f} ms"
    )
    return lines + (_int8(check.int8) if check.int8 else [])


def _difference(check: ExportCheck) -> str:
    if check.largest_difference is None or check.largest_output is None:
        return "equal outputs"
    found = f"outputs differ by at most {number(check.largest_difference)}"
    beside = f"{found}; the largest is {number(check.largest_output)}"
    if check.tolerance is None:
        return beside
    return f"{beside} (allowed: {check.tolerance:g} of it)"


def _int8(test: QuantizedTest) -> list[str]:
    from registry_core.evaluation.wording import format_comparison

    because = f", because {test.reason}" if test.reason else ""
    lines = [f"8-bit integers: {test.method} quantisation{because}"]
    if test.quantized is not None and test.float_ is not None:
        name = test.comparison.measure
        values = [fraction(name, value) for value in (test.quantized, test.float_)]
        lines.append(f"Test {name} {values[0]}, of the float model {values[1]}")
    lines.append(f"int8 against float: {format_comparison(test.comparison, 'int8', 'float')}")
    return lines
