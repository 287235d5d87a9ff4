"""Make the program deaf: a library that does not come back, for the tests of signals."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
import time

from bids_nodereg.app import attempt

AGAIN_S = 0.2


def be_deaf(times: int = 1) -> None:
    """Let the first pair compute in C for minutes, and send a signal meanwhile, unheard by Python."""

    def send() -> None:
        for _ in range(times):
            time.sleep(AGAIN_S)
            sys.stderr.write(f"signalled at {time.time()}\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGTERM)

    def compute(*_: object) -> None:
        threading.Thread(target=send, daemon=True).start()
        hashlib.pbkdf2_hmac("sha256", b"", b"salt", 300_000_000)

    attempt.open_pair = compute  # type: ignore[assignment]


def be_deaf_to_two() -> None:
    """The same, with a second signal soon after the first."""
    be_deaf(times=2)
