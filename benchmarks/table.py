"""The tables of docs/figures.md, README.md and docs/cifar10.md: `python -m benchmarks table`.

They are made from the newest record of each machine. Of several machines, a line has the one that
is least favourable to mlreg. Benchmarks without a record have no line, and neither have times that
were measured on a machine that others used too, or on an unknown processor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine, records
from benchmarks.lines import others, registry, training
from benchmarks.lines.line import Line
from benchmarks.records import Record, machine_name

ROOT = Path(__file__).parents[1]
PAGE, README, CIFAR = (ROOT / name for name in ("docs/figures.md", "README.md", "docs/cifar10.md"))
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"

_HEAD = "| what | mlreg | beside it | mlreg needs | date, n, machine |\n|---|---|---|---|---|\n"

# the headings of docs/figures.md, in this order, each with what a reader must know first
_GROUPS: Mapping[str, str] = {
    training.SPEED: "Training beside another program is compared in pairs, round by round.",
    training.GPU: "The median, the least and the most of epochs after the first. mlreg's have "
    "augmentation and validation; PyTorch's have validation with `baseline` alone.",
    training.ACCURACY: "On the test images, with the standard deviation over the seeds.",
    training.VARIANTS: "On 5,000 training images that were held out; the difference is in pairs of "
    "one seed, with its standard deviation.",
    training.EXAMPLES: "Both sides are trained on the same examples and tested on the same others.",
    training.STOPPED: "Seconds lost: the killed and the resumed run, less a whole one.",
    training.SEVERAL: "",
    training.LARGE: "Bytes are those of system calls. Memory is of the command at most.",
    others.SWEEPS: "Each tuner tries the same settings, one trial at a time.",
    registry.COMMANDS: "Whole commands, from their start to their exit.",
    registry.MANY: "The same with many and with few.",
    registry.MLFLOW: "mlreg also hashes each file, makes it durable and writes a ledger row.",
    registry.TEAM: "Wall time, as most of it passes in the servers, which run on the same machine.",
    registry.PAGES: "Wall time of `mlreg ui`, asked through one connection.",
    others.EXPORTS: "Each export is run beside the Keras model, on the same examples.",
}

LINES: Mapping[str, Callable[[Record], Iterator[Line]]] = {
    "throughput": training.throughput,
    "airbench": training.airbench,
    "gpu": training.gpu,
    "augmentation": training.augmentation,
    "overhead": training.overhead,
    "roofline": training.roofline,
    "startup": training.startup,
    "accuracy-": training.accuracy,
    "ablation-": training.ablation,
    "examples-": training.example,
    "resume": training.resume,
    "streams": training.streams,
    "parallel": training.parallel,
    "tuners": others.tuners,
    "cli": registry.cli,
    "scale": registry.scale,
    "lists": registry.lists,
    "registry": registry.registry,
    "large_file": registry.large_file,
    "team": registry.team,
    "web": registry.web,
    "exports": others.exports,
}


@dataclass(frozen=True)
class Chosen:
    """A line of the machine that is least favourable, of so many machines."""

    line: Line
    record: Record
    machines: int

    def cells(self, letter: str) -> str:
        """As a line of Markdown."""
        of = f" of {self.machines}" if self.machines > 1 else ""
        return self.line.cells(f"{self.record.date}, {self.line.n}, {letter}{of}")


def main(arguments: Sequence[str] = ()) -> None:
    """Write the tables into the pages, and name those that changed."""
    for page, text in pages().items():
        changed = page.read_text("utf-8") != text
        page.write_text(text, "utf-8")
        print(f"{'wrote' if changed else 'unchanged'}: {page.relative_to(ROOT)}")


def pages(folder: Path | None = None) -> dict[Path, str]:
    """Each page that has figures, with those of the records."""
    accuracies = _accuracies(folder)
    readme = _filled(README.read_text("utf-8"), headlines(folder))
    return {
        PAGE: _filled(PAGE.read_text("utf-8"), table(folder)),
        README: with_accuracies(readme, accuracies),
        CIFAR: with_accuracies(CIFAR.read_text("utf-8"), accuracies),
    }


def table(folder: Path | None = None) -> str:
    """All figures as Markdown, a heading for each group."""
    lines = chosen(folder)
    letters, legend = _machines(lines)
    parts = []
    for group, says in _GROUPS.items():
        cells = [each.cells(_letter(each, letters)) for each in lines if each.line.group == group]
        if cells:
            intro = f"{says}\n\n" if says else ""
            parts.append(f"## {group}\n\n{intro}{_HEAD}{''.join(cells)}")
    return f"{legend}\n" + "\n".join(parts)


def headlines(folder: Path | None = None) -> str:
    """The few figures of README."""
    lines = [each for each in chosen(folder) if each.line.headline]
    letters, legend = _machines(lines)
    cells = "".join(each.cells(_letter(each, letters)) for each in lines)
    machines = "; ".join(legend.replace(".  ", "").splitlines())
    return f"{_HEAD}{cells}\n{machines}.\n"


def chosen(folder: Path | None = None) -> list[Chosen]:
    """Every line once, from the machine that is least favourable to mlreg.

    A record without times counts only where there is none with times, and a machine whose processor
    is not known only where no other was measured.
    """
    found: dict[tuple[str, str, str], list[tuple[Line, Record]]] = {}
    by_name = records.read(folder)
    for kind, make in LINES.items():
        for name in sorted(by_name):
            if name == kind or (kind.endswith("-") and name.startswith(kind)):
                for record in filter(lambda each: each.published, by_name[name]):
                    for line in make(record):
                        found.setdefault(line.key, []).append((line, record))
    return [_least_favourable(each) for each in found.values()]


def _least_favourable(measured: list[tuple[Line, Record]]) -> Chosen:
    timed = [each for each in measured if each[1].timed]
    known = [each for each in measured if each[1].machine.get("vectors")]
    best = timed or known or measured
    line, record = max(best, key=lambda each: each[0].cost)
    return Chosen(line, record, len(best))


def _machines(lines: Sequence[Chosen]) -> tuple[dict[str, str], str]:
    """Kind of machine -> its letter, and the legend, which describes each as fully as it can."""
    letters: dict[str, str] = {}
    facts: dict[str, Mapping[str, object]] = {}
    for each in lines:
        name = machine_name(each.record.machine)
        letters.setdefault(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[len(letters)])
        facts[name] = max(facts.get(name, {}), each.record.machine, key=len)
    words = {name: f"{letters[name]}: {machine.describe(facts[name])}" for name in letters}
    return letters, "".join(f"{text}.  \n" for text in words.values())


def _letter(each: Chosen, letters: Mapping[str, str]) -> str:
    return letters[machine_name(each.record.machine)]


def _accuracies(folder: Path | None) -> dict[str, str]:
    """Preset -> its test accuracy, as its newest records have it."""
    found = {}
    for each in chosen(folder):
        if each.line.group == training.ACCURACY:
            n = each.record.content["rows"][-1]["n"]
            runs = f"mean and standard deviation of {n} seeds" if n > 1 else "one run"
            preset = each.record.content["preset"]
            found[preset] = f"{training.accuracy_of(each.record)} ({runs})"
    return found


def with_accuracies(text: str, accuracies: Mapping[str, str]) -> str:
    """A page whose table of presets ends each line with the accuracy, if it was recorded."""
    for preset, words in accuracies.items():
        row = re.compile(rf"^(\| `{preset}` \|.*\|)[^|]*\|$", re.MULTILINE)
        text = row.sub(lambda found, words=words: f"{found[1]} {words} |", text)
    return text


def _filled(text: str, content: str) -> str:
    before, rest = text.split(BEGIN)
    return before + BEGIN + content + END + rest.split(END)[1]


if __name__ == "__main__":
    main()
