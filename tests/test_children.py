"""Programs that are started end with the one that started them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from bids_nodereg import child_guard, children
from bids_nodereg.children import child

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sessions and signals are Unix'")

WAIT_S = 20
SLEEPER = "import subprocess, sys; subprocess.Popen(['sleep', '60']); print('x', flush=True); {}"
"""It has a child of its own, which must end too; both keep the pipe of the standard output open."""
SLEEPING = SLEEPER.format("import time; time.sleep(60)")

PARENT = f"""
import os, sys
from subprocess import PIPE
sys.path[:0] = {[str(Path(children.__file__).parents[1])]}
from bids_nodereg.children import child
with child([sys.executable, "-c", {SLEEPING!r}], sys.argv[1], stdout=1) as process:
    process.wait()
"""


def code_of(words):
    with tempfile.TemporaryFile() as out, child(words, stdout=out, stderr=out) as process:
        code = process.wait()
        out.seek(0)
        return code, out.read()


def test_a_child_ends_as_its_program_does():
    assert code_of([sys.executable, "-c", "print(7)"]) == (0, b"7\n")
    assert code_of([sys.executable, "-c", "raise SystemExit(3)"]) == (3, b"")
    assert code_of([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])[0] == -signal.SIGKILL
    assert code_of([sys.executable, "-c", "import os; os.kill(os.getpid(), 15)"])[0] == -signal.SIGTERM
    code, told = code_of(["/no/such/program"])
    assert (code, told) == (126, b"/no/such/program: No such file or directory")


def test_a_child_does_not_outlive_its_block():
    with child([sys.executable, "-c", SLEEPING], stdout=subprocess.PIPE) as process:
        assert process.stdout.read(1) == b"x"
        pipe = os.dup(process.stdout.fileno())
    assert process.poll() is not None
    assert_nobody_writes(pipe)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_does_not_outlive_its_parent_and_leaves_nothing(tmp_path, number):
    folder = tmp_path / "writes"
    folder.mkdir()
    (folder / "half").write_text("x")
    with subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout.read(1) == b"x"
        parent.send_signal(number)
        parent.wait()
        assert_nobody_writes(os.dup(parent.stdout.fileno()))
    assert not folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a program with its parent")
def test_a_program_ends_with_its_guard():
    """The guard is killed, as by the kernel when memory is short: nobody else would end the program."""
    lonely = "import time; print('x', flush=True); time.sleep(60)"
    with child([sys.executable, "-c", lonely], stdout=subprocess.PIPE) as process:
        assert process.stdout.read(1) == b"x"
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert_nobody_writes(os.dup(process.stdout.fileno()))


def test_a_guard_without_a_thread_starts_nothing(tmp_path):
    """Nobody would end the program where the system gives the guard no thread to watch from."""
    script = (
        "import sys, threading\n"
        "from bids_nodereg import child_guard\n"
        "def refuse(_):\n"
        "    raise RuntimeError('can not start new thread')\n"
        "threading.Thread.start = refuse\n"
        "sys.exit(child_guard.main(['', sys.executable, '-c', 'import time; time.sleep(60)']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == child_guard.NOT_STARTED
    assert done.stderr.endswith("can not start new thread")


def test_what_a_scheduler_tells_everybody_is_for_the_parent():
    short = SLEEPER.format("import time; time.sleep(0.5)")
    with child([sys.executable, "-c", short], stdout=subprocess.PIPE) as process:
        assert process.stdout.read(1) == b"x"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0


def assert_nobody_writes(pipe):
    """A pipe ends when the last process that could write to it is gone."""
    deadline = time.monotonic() + WAIT_S
    while select.select([pipe], [], [], max(deadline - time.monotonic(), 0))[0]:
        if not os.read(pipe, 10):
            os.close(pipe)
            return
    pytest.fail("a process is still there")
