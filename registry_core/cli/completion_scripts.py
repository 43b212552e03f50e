"""The completion scripts of bash, zsh and fish, and where they are installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from registry_core.errors import StorageError, UsageError
from registry_core.refs import shown

# A script sets these: which shell it is, the line up to the cursor, COMP_WORDBREAKS.
SHELL = "_MLREG_COMPLETE"
LINE = "_MLREG_LINE"
BREAKS = "_MLREG_BREAKS"

_BASH = f"""\
# completion of mlreg in bash
_mlreg_complete() {{
    local kind word
    COMPREPLY=()
    {{
        IFS= read -r kind
        while IFS= read -r word; do COMPREPLY+=("$word"); done
    }} < <({LINE}="${{COMP_LINE:0:COMP_POINT}}" {BREAKS}="$COMP_WORDBREAKS" \\
        {SHELL}=bash "${{1/#\\~/$HOME}}" 2>/dev/null)
    case "$kind" in
        open) compopt -o nospace ;;
        files) compopt -o default ;;
        folders) compopt -o dirnames ;;
    esac
}}
complete -o nosort -F _mlreg_complete mlreg
"""

_ZSH = f"""\
#compdef mlreg
# completion of mlreg in zsh
_mlreg() {{
    local line kind
    local -a lines items
    line="${{(j: :)words[1,CURRENT-1]}} $PREFIX"
    lines=("${{(@f)$({LINE}="$line" {SHELL}=zsh ${{(Q)words[1]/#\\~/$HOME}} 2>/dev/null)}}")
    kind=$lines[1]
    shift lines
    items=("${{(@)${{(@)lines//:/\\\\:}}/$'\\t'/:}}")
    case "$kind" in
        files) compset -P '--*='; _files ;;
        folders) compset -P '--*='; _files -/ ;;
        open) _describe -V mlreg items -S '' ;;
        words) (( $#lines )) && _describe -V mlreg items ;;
    esac
}}
if [ "$funcstack[1]" = _mlreg ]; then _mlreg "$@"; else compdef _mlreg mlreg; fi
"""

_FISH = f"""\
# completion of mlreg in fish
function __mlreg_complete
    set -lx {LINE} (commandline -cp)
    set -lx {SHELL} fish
    set -l program (commandline -po)[1]
    set -l lines ($program 2>/dev/null)
    set -l word (commandline -ct)
    set -l option (string match -r -- '^--[^=]*=' $word)
    set -l path (string replace -r -- '^--[^=]*=' '' $word)
    switch "$lines[1]"
        case files
            __fish_complete_path $path | string replace -r -- '^' "$option"
        case folders
            __fish_complete_directories $path '' | string replace -r -- '^' "$option"
        case '*'
            printf '%s\\n' $lines[2..-1]
    end
end
complete --command mlreg --no-files --keep-order --arguments '(__mlreg_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def set_up(words: Sequence[str]) -> str:
    """Install the script of a shell, or show it; returns what to print.

    Args:
        words: `--install-completion` or `--show-completion`, and maybe the shell's name.

    Raises:
        UsageError: the shell is not one of the three, or not known.
    """
    shell = _shell([word for word in words if not word.startswith("-")])
    if "--install-completion" not in words:
        return SCRIPTS[shell].rstrip("\n")
    home = Path.home()
    places = {
        "bash": home / ".bash_completions" / "mlreg.sh",
        "zsh": home / ".zfunc" / "_mlreg",
        "fish": home / ".config" / "fish" / "completions" / "mlreg.fish",
    }
    sourced = {
        "bash": (home / ".bashrc", f"source '{places['bash']}'"),
        "zsh": (home / ".zshrc", "fpath+=~/.zfunc; autoload -Uz compinit; compinit"),
    }
    place = places[shell]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(SCRIPTS[shell])
        if shell in sourced:
            _add_line(*sourced[shell])
    except OSError as error:
        raise StorageError(
            f"Cannot write {error.filename}: {error.strerror}.",
            "Put the script where your shell finds it.",
            "mlreg --show-completion",
        ) from error
    return f"Completion for {shell} is in {place}.\nStart a new shell to use it."


def _add_line(file: Path, line: str) -> None:
    """Add a line to a shell's start file, unless it is there."""
    text = file.read_text() if file.exists() else ""
    if line not in text.splitlines():
        gap = "" if not text or text.endswith("\n") else "\n"
        file.write_text(f"{text}{gap}{line}\n")


def _shell(named: Sequence[str]) -> str:
    """The shell that was named, or that mlreg was started from."""
    name = named[0] if named else ""
    if not name:
        with suppress(Exception):  # the list of processes cannot be read
            import shellingham  # type: ignore[import-untyped]

            name = shellingham.detect_shell()[0]
    name = name or Path(os.environ.get("SHELL", "")).name
    if name not in SCRIPTS:
        raise UsageError(
            f"No completion for the shell {shown(name)}."
            if name
            else "Cannot tell which shell this is.",
            f"There is completion for {', '.join(SCRIPTS)}; name one.",
            "mlreg --show-completion bash",
        )
    return name
