"""Acts on registries, each time in a fork of this process, which has imported all that it needs.

For each line of stdin, [scenario, folder] as JSON, it forks and prints the child's process id. The
child waits until stdin says `go`, so that it can be traced from its first call on; then the exit
status and what it acknowledged are printed, as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback

import store_scenarios


def serve() -> None:
    gc.freeze()
    for line in sys.stdin:
        name, folder = json.loads(line)
        waiting, go = os.pipe()
        reading, acknowledged = os.pipe()
        child = os.fork()
        if not child:
            os.close(go)
            os.dup2(acknowledged, 1)
            os.read(waiting, 1)
            _act(name, folder)
        os.close(waiting)
        os.close(acknowledged)
        print(child, flush=True)
        sys.stdin.readline()
        os.write(go, b"!")
        os.close(go)
        with os.fdopen(reading) as stream:
            said = stream.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([status, said]), flush=True)


def _act(name: str, folder: str) -> None:
    status = 99
    try:
        status = store_scenarios.main(name, folder)
    except BaseException:
        os.write(1, traceback.format_exc().encode())
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve()
