"""Plays a part of the table of situations on the machine it runs on: `player.py PROGRAMS PART OF`.

Starting Python takes most of the time of such a program (under QEMU most of a second), and the table needs more than a
hundred. So one Python starts once, and forks a child for each program: what the child runs is the program's own source, as
`__main__`, with arguments, signals and output of its own. Prints one line of JSON for each situation: its name, and how its
client ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, TracebackType

sys.path[:0] = [str(Path(__file__).resolve().parent), sys.argv[1]]

from launching import BOUND, PATIENCE_SECONDS, Result, Running  # noqa: E402
from situations import SITUATIONS, play  # noqa: E402

CODE: dict[str, CodeType] = {}


class Forked:
    """A program in a child of this process: as launching.Program, without another start of Python."""

    def __init__(self, argv: Sequence[str]) -> None:
        name = argv[0]
        if name not in CODE:
            CODE[name] = compile(Path(sys.argv[1], f"{name}.py").read_text(encoding="utf-8"), name, "exec")
            __import__(name)  # here, so that its children find everything it needs in memory
        self.argv = argv
        self.lines: list[str] = []
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        self._pid: int | None = os.fork()
        if self._pid == 0:
            _become(argv, out_write, err_write)
        os.close(out_write)
        os.close(err_write)
        self._out = os.fdopen(out_read, encoding="utf-8")
        self._err = os.fdopen(err_read, encoding="utf-8")

    def port(self) -> int:
        """The port it listens on or is bound to, from its transcript."""
        for line in self._out:
            self.lines.append(line.rstrip("\n"))
            if match := BOUND.match(line):
                return int(match[1])
        raise AssertionError(f"{self.argv} ended without listening: {self.lines} {self._err.read()}")

    def wait(self) -> Result:
        """Wait for the end; one who takes too long is ended by its own alarm (see _become)."""
        self.lines += self._out.read().splitlines()
        error = self._err.read()
        assert self._pid is not None
        _, status = os.waitpid(self._pid, 0)
        self._pid = None
        outcome = json.loads(self.lines[-1]) if self.lines and self.lines[-1].startswith("{") else None
        return Result(os.waitstatus_to_exitcode(status), outcome, self.lines, error)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        self._out.close()
        self._err.close()


def _become(argv: Sequence[str], out: int, err: int) -> None:
    """Be the program, in a child: nothing of the player's is left open, and nothing comes back."""
    code = 70
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.closerange(3, 64)
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", encoding="utf-8", closefd=False) for fd in (1, 2))
        sys.argv = [f"{argv[0]}.py", *argv[1:]]
        signal.alarm(PATIENCE_SECONDS)
        exec(CODE[argv[0]], {"__name__": "__main__", "__doc__": "a program"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    part, of = int(sys.argv[2]), int(sys.argv[3])
    for situation in SITUATIONS[part::of]:
        result = play(situation, server=Forked, client=Forked)
        print(json.dumps([situation.name, result]), flush=True)


if __name__ == "__main__":
    main()
