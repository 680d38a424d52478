"""What is kept of a program's output, and what the shell that starts it says of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from labctl.engines import written
from labctl.engines.written import LAUNCHER, Errors, Written

SHELLS = [path for name in ("sh", "dash", "bash") if (path := shutil.which(name))]


def launched(shell: str, *argv: str) -> tuple[int, Errors]:
    """A command started as on a host: its exit status and its standard error."""
    done = subprocess.run([shell, *LAUNCHER[1:], "whose", *argv], capture_output=True, check=False)
    errors = Errors()
    for at in range(0, len(done.stderr), 7):  # in pieces, as it may come
        errors.add(done.stderr[at : at + 7])
    return done.returncode, errors


@pytest.mark.parametrize("shell", SHELLS)
def test_the_launcher_tells_a_command_that_cannot_be_run_from_one_that_says_so_itself(shell: str, tmp_path: Path) -> None:
    """No such file, no permission, no interpreter: told. A program that ends with 127 by itself has run."""
    plain, orphan = tmp_path / "plain", tmp_path / "orphan"
    plain.write_text("no program", encoding="utf-8")
    orphan.write_text("#!/no/such/interpreter\n", encoding="utf-8")
    orphan.chmod(0o755)
    for command, status in (("/no/such/program", 127), (str(plain), 126), (str(orphan), 127)):
        code, errors = launched(shell, command, "x")
        assert (code in (126, status), errors.not_run) == (True, True), command
        assert command in errors.kept().decode()
        assert "labctl" not in errors.kept().decode()
    for words in (["sh", "-c", "echo fine >&2; exit 127"], ["sh", "-c", "echo fine >&2"]):
        code, errors = launched(shell, *words)
        assert (code, errors.not_run, errors.kept()) == (127 if "exit" in words[2] else 0, False, b"fine\n")
        assert errors.pid is not None


def test_of_much_output_the_beginning_and_the_end_are_kept_and_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the limit everything is there; beyond it a line between the two parts says how many bytes are not."""
    monkeypatch.setattr(written, "HEAD_BYTES", 10)
    monkeypatch.setattr(written, "TAIL_BYTES", 5)
    stream = Written()
    for piece in (b"0123456", b"789abc", b"de"):
        stream.add(piece)
    assert (stream.kept(), stream.left_out) == (b"0123456789abcde", 0)
    stream.add(b"fghijklm")
    assert stream.left_out == 8
    assert stream.kept() == b"0123456789\n[labctl: 8 bytes left out here]\nijklm"
