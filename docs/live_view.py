"""Record the live view of a real run: `python docs/live_view.py --seconds 100 live_view.svg`.

Starts `mlreg run cifar10` in a tmux terminal, waits, draws what the terminal shows, and stops the
run, which registers nothing. Needs tmux.
"""

import argparse
import io
import re
import subprocess
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

SESSION = "mlreg-live-view"
COMMAND = "mlreg run cifar10"
WIDTH = 90


def main() -> None:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--seconds", type=float, default=100.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as registry:
        run = f"CI= MLREG_HOME={registry} {COMMAND}"
        tmux("new-session", "-d", "-s", SESSION, "-x", str(WIDTH), "-y", "12", run)
        try:
            time.sleep(options.seconds)
            seen = tmux("capture-pane", "-e", "-p", "-t", SESSION)
        finally:
            tmux("send-keys", "-t", SESSION, "C-c")
            time.sleep(3)
            tmux("kill-session", "-t", SESSION, check=False)
    # the temporary folder has another name each time
    seen = seen.replace(registry, "/home/user/registry")
    options.picture.write_text(draw(f"$ {COMMAND}\n{seen.rstrip()}"))


def draw(ansi: str) -> str:
    """The terminal's text, with its colours, as SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(ansi))
    svg = console.export_svg(title="mlreg")
    # use the fonts of the page that shows the picture; download none
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)


def tmux(*words: str, check: bool = True) -> str:
    """Run one tmux command and return what it prints."""
    return subprocess.run(["tmux", *words], check=check, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
