"""Record what mlreg shows on 80 × 24: `python docs/screens.py docs/screens.md`.

Trains CIFAR-10's `quick` preset three times in a tmux terminal, into a temporary registry, and
records the screen: a run at several moments, then the commands that look at the registry. Takes
some minutes. Needs tmux; MLREG_CACHE names the folder with the images.
"""

import argparse
import re
import tempfile
import time
from pathlib import Path

from live_view import tmux

SESSION = "mlreg-screens"
RUN = "mlreg run cifar10 --preset quick"
# a line of the live view -> the name of that moment
MOMENTS = {
    "the first step is being compiled": "while TensorFlow compiles the first step",
    r"Epoch 2/3 .*left": "within the second epoch",
    "Epoch 2/3[^$]*validating": "while it validates",
}
COMMANDS = [
    "mlreg list",
    "mlreg list cifar10",
    "mlreg runs",
    "mlreg show cifar10@2",
    "mlreg compare cifar10@1 cifar10@2",
    "mlreg promote cifar10@1 production",
    "mlreg rules set production --floor test_accuracy=0.6",
    "mlreg promote cifar10@2 production",
    "mlreg rules",
    "mlreg history",
    "mlreg show cifar10@2 --log",
    "mlreg --help",
]
TITLE = """# What mlreg shows

The screens of a terminal with 80 columns and 24 lines, recorded by
`python docs/screens.py docs/screens.md`. Longer output is shown in full.
"""


def main() -> None:
    """Run the commands and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlreg-") as registry:
        tmux("new-session", "-d", "-s", SESSION, "-x", "80", "-y", "24", "bash --norc")
        try:
            type_line(f"export PS1='$ ' MLREG_HOME={registry} CI=")
            page = [TITLE, *screens()]
        finally:
            tmux("kill-session", "-t", SESSION, check=False)
    # the temporary folder has another name each time
    options.page.write_text("\n".join(page).replace(registry, "/home/user/registry"), "utf-8")


def screens() -> list[str]:
    """Each screen as a section of the page."""
    clear()
    type_line(RUN)
    page = []
    for sign, moment in MOMENTS.items():
        page.append(section(f"A run, {moment}", wait_for(sign)))
    page.append(section("A run, when it is done", wait_for(r"Figures: .*")))
    type_line(f"{RUN} --seed 1 -p learning_rate=0.002")
    wait_for("Registered cifar10@2")
    clear()
    type_line(f"{RUN} --seed 2")
    wait_for(r"Epoch 2/3 .*left")
    tmux("send-keys", "-t", SESSION, "C-c")
    page.append(section("A run that was stopped by Ctrl-C", wait_for(r"Stopped by [^$]*\$ $")))
    type_line("mlreg promote cifar10@2 production --reason 'the better one of two'")
    wait_for("production is|production.*cifar10@2")
    for command in COMMANDS:
        clear()
        type_line(command)
        page.append(section(f"`{command}`", wait_for(r"\n\$ $")))
    return page


def section(title: str, screen: str) -> str:
    """A heading and a block of text."""
    text = re.sub(r"\n\$ ?$", "", screen.rstrip("\n"))
    return f"## {title}\n\n```text\n{text.rstrip()}\n```\n"


def clear() -> None:
    """Clear the screen and its scrollback."""
    time.sleep(1.0)
    type_line("clear")
    time.sleep(1.0)
    tmux("clear-history", "-t", SESSION)


def type_line(line: str) -> None:
    """Type a command."""
    tmux("send-keys", "-t", SESSION, line, "Enter")


def wait_for(sign: str, seconds: float = 600.0) -> str:
    """Wait until the screen matches a pattern, and return it."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(0.5)
        seen = tmux("capture-pane", "-p", "-S", "-200", "-t", SESSION).rstrip("\n")
        if re.search(sign, seen + ("" if seen.endswith(" ") else " ")):
            return seen
    raise TimeoutError(f"{sign} was not shown:\n{seen}")


if __name__ == "__main__":
    main()
