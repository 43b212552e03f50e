"""What bash, zsh and fish complete when Tab is pressed: the same words, in the real shells.

A shell that is not there is skipped, by name; where MLREG_SHELLS is `required` it fails instead.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_helpers import process_environment
from completion_table import COMPLETED, make_project

pytestmark = pytest.mark.processes

SECONDS = 60

_BASH_SETUP = """
bind 'set bell-style none'
bind 'set show-all-if-ambiguous on'
bind 'set completion-query-items 0'
bind 'set page-completions off'
bind 'set completion-display-width 0'
bind 'set enable-bracketed-paste off'
bind -x '"\\C-xl": printf "\\n<<%s>>\\n" "$READLINE_LINE"'
PS1='type> '
eval "$(mlreg --show-completion bash)"
"""

_ZSH_SETUP = """
autoload -Uz compinit; compinit -u
setopt no_beep no_list_ambiguous no_auto_menu
LISTMAX=10000
_show_buffer() { zle -I; print -r -- "<<$BUFFER>>" }
zle -N _show_buffer
bindkey '^Xl' _show_buffer
bindkey '^I' complete-word
bindkey '^U' kill-whole-line
unset zle_bracketed_paste
PS1='type> '
eval "$(mlreg --show-completion zsh)"
"""


def need(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        if os.environ.get("MLREG_SHELLS") == "required":
            pytest.fail(f"{shell} is not installed, and MLREG_SHELLS says that it must be")
        pytest.skip(f"{shell} is not installed: completion in {shell} is NOT TESTED here")
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project, and `mlreg` on the PATH."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    tools = tmp_path_factory.mktemp("tools")
    (tools / "mlreg").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m registry_core "$@"\n')
    (tools / "mlreg").chmod(0o755)
    (folder / ".tools").symlink_to(tools)
    return folder


def environment(project: Path, home: Path) -> dict[str, str]:
    tools = (project / ".tools").resolve()
    kept = process_environment({"HOME": str(home), "TERM": "xterm", "LC_ALL": "C.UTF-8"})
    root = str(Path(__file__).parents[2])
    return kept | {
        "PATH": f"{tools}{os.pathsep}{kept['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH")))),
        "ZDOTDIR": str(home),
    }


class Terminal:
    """A shell on a terminal of 500 columns, so that no line folds."""

    def __init__(self, words: list[str], setup: str, project: Path, home: Path) -> None:
        self.written = ""
        self.process, self.fd = pty.fork()
        if self.process == 0:
            os.chdir(project)
            os.execve(words[0], words, environment(project, home))
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 200, 500, 0, 0))
        for line in setup.strip().splitlines():
            os.write(self.fd, f"{line}\n".encode())
        self.send("echo rea''dy\n")
        self.until("ready")
        self.until("type> ")

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, mark: str) -> str:
        """What was written until this was, and this."""
        end = time.monotonic() + SECONDS
        while mark not in self.written:
            assert time.monotonic() < end, self.written
            if select.select([self.fd], [], [], 1)[0]:
                self.written += os.read(self.fd, 65536).decode(errors="replace")
        before, _, self.written = self.written.partition(mark)
        return before + mark

    def tab(self, line: str) -> tuple[list[str], str]:
        """The words that are listed when Tab is pressed, and the line as it is then."""
        self.send(f"{line}\t\x18l")
        text = self.until(">>")
        self.until("type> ")
        self.send("\x15")
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]", " ", text.replace("\r", ""))
        said, _, rest = text.rpartition("<<")
        return said.split("\n"), rest.partition(">>")[0]

    def close(self) -> None:
        import signal

        os.kill(self.process, signal.SIGHUP)
        os.close(self.fd)
        os.waitpid(self.process, 0)


@pytest.fixture(scope="module")
def bash(project, tmp_path_factory):
    shell = need("bash")
    terminal = Terminal(
        [shell, "--norc", "--noprofile", "-i"], _BASH_SETUP, project, tmp_path_factory.mktemp("h")
    )
    yield terminal
    terminal.close()


@pytest.fixture(scope="module")
def zsh(project, tmp_path_factory):
    shell = need("zsh")
    terminal = Terminal([shell, "-f", "-i"], _ZSH_SETUP, project, tmp_path_factory.mktemp("h"))
    yield terminal
    terminal.close()


@pytest.fixture(scope="module")
def fish(request, project, tmp_path_factory) -> dict[str, list[str]]:
    """Line -> what fish completes; all in one fish."""
    shell = need("fish")
    lines = [
        item.callspec.params["line"]
        for item in request.session.items
        if item.function is test_fish_completes_it
    ]
    asked = "".join(f"echo '== {line}'\ncomplete -C '{line}'\n" for line in lines)
    done = subprocess.run(
        [shell, "--no-config", "-c", f"mlreg --show-completion fish | source\n{asked}"],
        cwd=project,
        env=environment(project, tmp_path_factory.mktemp("h")),
        capture_output=True,
        text=True,
        timeout=SECONDS * 5,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    parts = [part.partition("\n") for part in done.stdout.split("== ")[1:]]
    return {
        line: [each.partition("\t")[0] for each in words.splitlines()] for line, _, words in parts
    }


def extended(line: str, words: list[str]) -> str:
    """The line with what all the words begin with in place of its last word."""
    start = max(line.rfind(" "), line.rfind("=") if "--" in line.split(" ")[-1] else -1) + 1
    return line[:start] + os.path.commonprefix(words)  # noqa: RUF071 - of letters


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(("line", "words"), COMPLETED, ids=[line for line, _ in COMPLETED])
def test_bash_completes_it(bash, line, words):
    """A single word is put into the line; several are listed, from where readline replaces."""
    said, after = bash.tab(line)
    assert after.rstrip(" /") == extended(line, words).rstrip(" /")
    if len(words) > 1:
        listed = [each.strip().removesuffix("/") for each in said[1:-2]]
        typed = line.rpartition(" ")[2]
        # readline's word begins at the `@`, and after the `=` and the `:`
        ends = (typed.rfind("@"), typed.rfind("=") + 1, typed.rfind(":") + 1)
        cut = 0 if typed.startswith("--") else max(ends)
        assert listed == [word[cut:] for word in words]


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate
@pytest.mark.parametrize(("line", "words"), COMPLETED, ids=[line for line, _ in COMPLETED])
def test_zsh_completes_it(zsh, line, words):
    """A single word is put into the line; several are listed."""
    said, after = zsh.tab(line)
    assert after.rstrip(" /") == extended(line, words).rstrip(" /")
    if len(words) > 1:
        listed = [word.removesuffix("/") for each in said[1:] for word in each.split()]
        assert [word for word in words if word.removesuffix("/") not in listed] == []
        assert "flowers_plugin.py" not in listed


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate
@pytest.mark.parametrize(("line", "words"), COMPLETED, ids=[line for line, _ in COMPLETED])
def test_fish_completes_it(fish, line, words):
    """Exactly these, in this order."""
    option = re.match(r"--[^=]*=", line.rpartition(" ")[2])
    expected = [f"{option[0]}{word}" for word in words] if option else words
    assert [each.removesuffix("/") for each in fish[line]] == [
        each.removesuffix("/") for each in expected
    ]


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_an_installed_script_completes_in_a_new_shell(project, tmp_path, shell):
    """`mlreg --install-completion`, then a shell with its own start files."""
    path = need(shell)
    around = environment(project, tmp_path)
    for _ in range(2):  # the second time changes nothing
        subprocess.run(
            ["mlreg", "--install-completion", shell], env=around, cwd=project, check=True
        )
    if shell == "fish":
        done = subprocess.run(
            [path, "-c", "complete -C 'mlreg show flowers@p'"],
            env=around,
            cwd=project,
            capture_output=True,
            text=True,
        )
        assert done.stdout.split() == ["flowers@production"], done.stderr
        return
    setup = (_BASH_SETUP if shell == "bash" else _ZSH_SETUP).replace(
        f'eval "$(mlreg --show-completion {shell})"', ""
    )
    setup = setup.replace("autoload -Uz compinit; compinit -u\n", "")
    terminal = Terminal([path, "-i"], setup, project, tmp_path)
    try:
        assert terminal.tab("mlreg show flowers@p")[1].rstrip() == "mlreg show flowers@production"
    finally:
        terminal.close()
    start = tmp_path / (".bashrc" if shell == "bash" else ".zshrc")
    assert len(start.read_text().splitlines()) == 1
