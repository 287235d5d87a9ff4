"""One pair through its stages: an error becomes its status, and the other pairs go on."""

from __future__ import annotations

import errno
import logging
import time
import traceback
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from bids_nodereg.app.compose import compose_pair
from bids_nodereg.app.gate import kept_verdict
from bids_nodereg.app.log import lines_of
from bids_nodereg.app.memory import wants_all
from bids_nodereg.app.pair import OpenedPair, SolvedPair, close_pair, open_pair, solve_pair
from bids_nodereg.app.places import without_places
from bids_nodereg.app.resample import resample_pair
from bids_nodereg.app.retry import code_of, trouble_of, words_of
from bids_nodereg.app.status import NOT_YET, Status, lacks_only_images, why_not_done
from bids_nodereg.bids.owner import owner_on_disk
from bids_nodereg.errors import MissingInputError, NodeRegError, OutputError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bids_nodereg.app.jobs import Job
    from bids_nodereg.app.progress import PairProgress
    from bids_nodereg.app.retry import Trouble
    from bids_nodereg.app.shared import Run
    from bids_nodereg.app.status import Ending
    from bids_nodereg.config import RunConfig

Held = TypeVar("Held")

LOG = logging.getLogger("nodereg")

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
"""What the system answers when nothing more can be written: a temporary file, as outputs are told apart."""
_TOO_MANY = {errno.EMFILE, errno.ENFILE}
_NOT_READ = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}


@dataclass(frozen=True)
class Whole:
    """A pair that is not searched: all of it is done at the end, when the pairs before it are written."""

    do: Callable[[Job, Run, PairProgress], Status]


@dataclass(frozen=True, eq=False)
class Attempt:
    """One pair on its way.

    Attributes
    ----------
    job
        The pair.
    place
        Its number among all, as ``2/4``; stands before its lines in the log.
    progress
        Hears how far it is.
    held
        What its last stage gave; None before the first. A status where it has ended.
    seconds
        Time spent on it so far, without that spent waiting for other pairs.
    is_last
        Whether there is no other try after this one: then another run that has the pair is waited for.
    """

    job: Job
    place: str
    progress: PairProgress
    held: OpenedPair | SolvedPair | Whole | Status | None = None
    seconds: float = 0.0
    is_last: bool = False


def open_attempt(attempt: Attempt, config: RunConfig, run: Run) -> Attempt:
    """Claim the pair, find out what is to be done, and prepare the images where the map is to be searched."""
    held, seconds = _stage(attempt, config, lambda: _claimed(attempt, config, run))
    return replace(attempt, held=held, seconds=seconds)


def solve_attempt(attempt: Attempt, config: RunConfig, run: Run) -> Attempt:
    """Search the map, unless the pair has ended or is not searched."""
    opened = attempt.held
    if not isinstance(opened, OpenedPair):
        return attempt
    held, seconds = _stage(attempt, config, lambda: solve_pair(opened, run, attempt.progress))
    return replace(attempt, held=held, seconds=seconds)


def needs_all_memory(attempt: Attempt, run: Run) -> bool:
    """Whether no other pair may be under way while this one is."""
    opened = attempt.held
    return isinstance(opened, OpenedPair) and wants_all(opened.inputs, run.settings, run.hardware)


def close_attempt(attempt: Attempt, config: RunConfig, run: Run) -> Status:
    """Measure and write what was found; how the pair ended."""
    status, seconds = _stage(attempt, config, lambda: _closed(attempt, config, run))
    run.begun.end(attempt.job.outputs.name)
    run.claims.give_back(attempt.job.outputs.claim)
    attempt.progress.end()
    if status.status == "already done":
        return status
    if status.status == "done":
        with lines_of(attempt.place):
            LOG.info("    done in %.0f s, quality: %s", seconds, status.verdict)
    return replace(status, seconds=seconds)


def _stage(attempt: Attempt, config: RunConfig, work: Callable[[], Held]) -> tuple[Held | Status, float]:
    """Do one stage; an error ends the pair and stops no other. What it gave, and the seconds so far."""
    began = time.perf_counter()
    held: Held | Status
    with lines_of(attempt.place):
        try:
            held = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other pairs must go on
            held = _failed(attempt.job, error, config)
    return held, attempt.seconds + time.perf_counter() - began


def _failed(job: Job, error: Exception, config: RunConfig) -> Status:
    """Log what went wrong, and put it into a status."""
    trouble = trouble_of(error)
    words, code = _in_words(error, trouble)
    LOG.error("    %s failed: %s", job.outputs.name, words)
    if not isinstance(error, NodeRegError):  # those tell the user all there is to know
        LOG.debug("".join(traceback.format_exception(error)))
    told = without_places(words, config)
    return _status(job, "failed", error=told, exit_code=code, trouble=trouble)


def _in_words(error: Exception, trouble: Trouble) -> tuple[str, int]:
    """What went wrong, for the user, and the exit code."""
    if isinstance(error, NodeRegError):
        return str(error), error.exit_code
    said = f"{type(error).__name__}: {error}"
    if trouble:
        return f"{words_of(trouble)} ({said})", code_of(trouble)
    if isinstance(error, OSError) and (told := _of_system(error)):
        return told
    return f"{said}. This is a fault of nodereg: please report it with run.log.", 1


def _of_system(error: OSError) -> tuple[str, int] | None:
    """What the system refused, by its number, and the exit code; outputs are told by an OutputError."""
    name, reason = error.filename or "a file", error.strerror or error
    if error.errno in _NO_ROOM:
        told = f"{name}: cannot be written ({reason}). Check the free space, also where TMPDIR points to."
        return told, OutputError.exit_code
    if error.errno in _TOO_MANY:
        told = f"{name}: cannot be opened ({reason}). Allow more (ulimit -n), or use fewer --n-procs."
        return told, TemporaryError.exit_code
    if error.errno in _NOT_READ:
        told = f"{name}: cannot be read ({reason}). Is it still there, and may it be read?"
        return told, MissingInputError.exit_code
    return None


def _status(job: Job, ending: Ending, **more: Any) -> Status:
    return Status(job.outputs.name, job.pair.moving.subject, ending, **more)


def _claimed(attempt: Attempt, config: RunConfig, run: Run) -> OpenedPair | Whole | Status:
    """Open a pair that no other run has."""
    if run.claims.take(attempt.job.outputs.claim, patient=attempt.is_last):
        run.begun.adopt(attempt.job.outputs.name)
        return _opened(attempt, config, run)
    LOG.info("    another run is at work on it")
    told = "another run is at work on it"
    return _status(
        attempt.job, "failed", error=told, exit_code=TemporaryError.exit_code, trouble="another run"
    )


def _opened(attempt: Attempt, config: RunConfig, run: Run) -> OpenedPair | Whole | Status:
    job = attempt.job
    job.outputs.refuse_links_out()
    _refuse_anothers(job)
    if job.parts:
        return Whole(compose_pair)  # whether it is done depends on the maps that may be searched just now
    ended = _unless_done(job, config)
    if ended is not None:
        return ended
    run.begun.begin(job.outputs.name)
    if not config.force and lacks_only_images(job, config.settings):
        return Whole(resample_pair)
    return open_pair(job, run, attempt.progress)


def _refuse_anothers(job: Job) -> None:
    """Refuse to write over what another run has written since the names of this run were chosen.

    A claim has the name of a pair. So this is asked once the claim is held, and before anything is written:
    another pair may share the names of some files only, and then has a claim of its own.

    Raises
    ------
    TemporaryError
        If the files are those of another pair by now. The next run finds another name.
    """
    if owner_on_disk(job.pair, job.outputs) == "another pair":
        msg = (
            f"{job.outputs.name}: another run has written files of this name, of other images, since this "
            "run began. They stay. Run again: the pair is then given another name."
        )
        raise TemporaryError(msg)


def _closed(attempt: Attempt, config: RunConfig, run: Run) -> Status:
    held, job = attempt.held, attempt.job
    if not isinstance(held, Status):
        _refuse_anothers(job)
    if isinstance(held, SolvedPair):
        return close_pair(held, run, attempt.progress)
    if isinstance(held, Whole):
        ended = _unless_done(job, config) if job.parts else None
        if job.parts and ended is None:
            run.begun.begin(job.outputs.name)
        return held.do(job, run, attempt.progress) if ended is None else ended
    if isinstance(held, Status):
        return held
    msg = f"{job.outputs.name}: cannot be closed with {type(held).__name__}"
    raise TypeError(msg)


def _unless_done(job: Job, config: RunConfig) -> Status | None:
    """The status of a pair that is done already; None for one that is to do, with the reason in the log."""
    reason = "--force" if config.force else why_not_done(job, config.settings)
    if not reason:
        LOG.info("    already done")
        return _status(job, "already done", verdict=kept_verdict(job))
    LOG.log(logging.DEBUG if reason == NOT_YET else logging.INFO, "    to do: %s", reason)
    return None
