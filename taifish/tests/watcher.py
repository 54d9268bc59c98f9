"""Remove what a test run leaves behind when it is killed: its servers, and their folders.

A process of the test run holds the other end of our standard input and writes the name of a folder per line. When it
ends, however it ends, we see the end of the input. Every process that has such a folder in its command line dies, and
the folders go, except those after the word "keep". After an orderly end there is nothing left to do.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path


def private_folder(name: str) -> Path:
    """A folder under /tmp for a server of this test run. It goes, and the server, when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix=f"taifish-{name}-", dir="/tmp"))
    watch(folder)
    # Whom root runs a server as must reach its own folder in this one.
    folder.chmod(0o711)
    return folder


_watcher: list[subprocess.Popen[str]] = []


def watch(folder: Path, keep: bool = False) -> None:
    """Have what runs in `folder` killed when this process ends, also when it is killed, and remove it unless `keep`."""
    if not _watcher:
        program = [sys.executable, "-I", __file__]
        _watcher.append(subprocess.Popen(program, stdin=subprocess.PIPE, text=True, start_new_session=True))
    pipe = _watcher[0].stdin
    assert pipe is not None
    pipe.write(f"{'keep ' if keep else ''}{folder}\n")
    pipe.flush()


def processes(folders: list[str]) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = path.read_bytes()
            if any(os.fsencode(folder) in command for folder in folders):
                found.append(int(path.parent.name))
    return found


def main() -> None:
    # Ctrl-C is for the test run, which then cleans up itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines = sys.stdin.read().splitlines()
    folders = [line.removeprefix("keep ") for line in lines]
    deadline = time.monotonic() + 30
    while folders and (left := processes(folders)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    for line in lines:
        if not line.startswith("keep "):
            shutil.rmtree(line, ignore_errors=True)


if __name__ == "__main__":
    main()
