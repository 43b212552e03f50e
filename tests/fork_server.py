"""Runs Python programs, each in a fork of this process, which has imported what they need.

The arguments are the path of a socket to listen on and the modules to import. A fork of its own, in
a process group of its own, serves each connection, and says its number first. Each line is then a
request, as JSON: `words` as the interpreter is given them, `cwd`, `environment`, and the paths of
`stdin`, `stdout` and `stderr`. The answer is the exit status. This process ends when stdin ends,
and the others with their connections.

A fork does what a new process does as long as nothing has started a thread here. TensorFlow starts
its threads when the first operation runs, and none runs here.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
import types
from importlib import import_module
from pathlib import Path
from typing import Any

from registry_core.model_import import examiner


def serve(path: str, modules: list[str]) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        for module in modules:
            import_module(module)
        gc.collect()
        gc.freeze()  # what is imported stays, and is not copied by the garbage collector of a fork
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks that serve
        while sys.stdin not in select.select([sys.stdin, listener], [], [])[0]:
            connection = listener.accept()[0]
            if not os.fork():
                listener.close()
                return _answer(connection)
            connection.close()
        Path(path).unlink(missing_ok=True)


def _answer(connection: socket.socket) -> None:
    """Run what a connection asks for, until it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    with connection, connection.makefile("rw") as requests:
        print(os.getpid(), file=requests, flush=True)
        while line := requests.readline():
            child = os.fork()
            if not child:
                break
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print(status, file=requests, flush=True)
    if line:
        _become(json.loads(line))  # and end as any program does


def _become(request: dict[str, Any]) -> None:
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        file = os.open(request[name], os.O_RDWR | os.O_APPEND * (number > 0))
        os.dup2(file, number)
        os.close(file)
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    places = [str(Path.cwd()), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.path[:] = [*places, *(place for place in sys.path[1:] if place not in places)]
    # folders that were not there before; those that were are looked at again if they changed
    for place in [place for place, finder in sys.path_importer_cache.items() if finder is None]:
        del sys.path_importer_cache[place]
    if os.environ.pop("FORKED_EXAMINER", ""):
        examiner.subprocess = types.SimpleNamespace(Popen=ForkedExaminer)
    kind, what, *rest = request["words"]
    sys.argv = [kind if kind == "-c" else what, *rest]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        assert kind == "-c", kind
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(main))


class ForkedExaminer:
    """Stands in for `subprocess.Popen` where a model file is examined: a fork of this process.

    For a program that sets FORKED_EXAMINER, and runs no operation of TensorFlow before.
    """

    def __init__(self, words, *, stdin, stdout, stderr, pass_fds, start_new_session, env) -> None:
        assert start_new_session
        self.pid = os.fork()
        if self.pid:
            return
        status = 1
        try:
            os.setsid()
            for number, file in enumerate((stdin, stdout, stderr)):
                os.dup2(file.fileno(), number)
            sys.stdin = os.fdopen(0, closefd=False)
            os.environ.update(env)
            exec(words[-1], {})
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def wait(self) -> None:
        os.waitpid(self.pid, 0)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
