"""From the data set to the list of registrations to do."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bids_nodereg.app.extras import with_extras
from bids_nodereg.bids.candidates import no_pair_message, unusable_message
from bids_nodereg.bids.dataset import open_dataset
from bids_nodereg.bids.derivatives import all_outputs
from bids_nodereg.bids.filters import Filters, read_filters
from bids_nodereg.bids.names import natural_key
from bids_nodereg.bids.owner import owner_on_disk
from bids_nodereg.bids.pairs import RuleOptions, pairs_of, with_derivatives, without_lesion_masks
from bids_nodereg.bids.pairs_file import read_pairs_file
from bids_nodereg.bids.templateflow import find_templates
from bids_nodereg.bids.to_template import ALL_RULES, without_repeats
from bids_nodereg.errors import MissingInputError, NothingSelectedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from bids_nodereg.bids.dataset import Dataset, LeftOut
    from bids_nodereg.bids.derivatives import Outputs
    from bids_nodereg.bids.pairs import Candidate, Pair
    from bids_nodereg.bids.templates import Template
    from bids_nodereg.config import RunConfig, Selection

LOG = logging.getLogger("nodereg")

MOST_REASONS = 3
"""Most kinds of participants without a pair that are told."""


@dataclass(frozen=True)
class Job:
    """One pair and where its results go."""

    pair: Pair
    outputs: Outputs
    truth: Path | None = None
    """Known transform of simulated data, for the report."""
    parts: tuple[Job, ...] = ()
    """Of a map that is composed and not searched: the jobs whose maps it is made of, the moving image's
    first. They stand before it in the list."""

    @property
    def title(self) -> str:
        """The pair in words, for progress and log."""
        return self.outputs.name


@dataclass(frozen=True)
class Participant:
    """What was found for one participant."""

    subject: str
    candidates: tuple[Candidate, ...]
    jobs: tuple[Job, ...]
    message: str
    """Why there is no pair, and which images cannot be used; empty when all is well."""
    left_out: tuple[LeftOut, ...] = ()
    """Anatomical files that no rule was shown."""

    @property
    def templates(self) -> tuple[Template, ...]:
        """Templates that images are brought to."""
        return tuple({job.pair.template: None for job in self.jobs if job.pair.template is not None})


def open_input(config: RunConfig) -> Dataset:
    """Open the data set that the configuration names."""
    return open_dataset(
        config.bids_dir, database_dir=config.bids_database_dir, derivatives=config.derivatives
    )


def chosen_participants(config: RunConfig, dataset: Dataset) -> tuple[str, ...]:
    """Participants of this run: those asked for, and of them the part of the shard.

    Without labels, those are the folders of the data set and who moves in the pairs file: its images
    may be of a derivative data set that has more participants.

    A part may have nobody, where there are more parts than participants: the other tasks of an array have
    them all, and this one has nothing to do.
    """
    selection = config.selection
    everyone = dataset.participants(selection.participant_label)
    if selection.pairs_file is not None and not selection.participant_label:
        rows = read_pairs_file(selection.pairs_file, dataset)
        everyone = tuple(sorted({*everyone, *(row.moving.subject for row in rows)}, key=natural_key))
    part, parts = selection.shard
    mine = everyone[part - 1 :: parts]
    if not mine:
        LOG.warning(
            "--shard %d/%d: nothing to do, as there are %d participant(s).", part, parts, len(everyone)
        )
    return mine


def find_jobs(config: RunConfig, dataset: Dataset, subjects: Sequence[str]) -> Iterator[Participant]:
    """Look at one participant after the other; nothing is read but names.

    With a pairs file the rules are not used, and a row belongs to its moving image's participant.
    """
    selection = config.selection
    filters = read_filters(selection.bids_filter_file) if selection.bids_filter_file else Filters()
    for note in filters.notes:
        LOG.warning(note)
    if selection.pairs_file is not None:
        rows = read_pairs_file(selection.pairs_file, dataset)
        yield from _of_pairs_file(config, dataset, subjects, rows)
        return
    templates = _templates(config, dataset)
    general = RuleOptions(
        fixed_suffix=selection.fixed_suffix,
        moving_suffixes=selection.moving_suffix,
        all_pairs=selection.all_pairs,
        within=selection.pair_within,
        longitudinal_base=selection.longitudinal_base,
        templates=templates,
    )
    for subject, found in dataset.select_each(subjects, selection.session_label, filters):
        for note in found.timeline.notes:
            LOG.warning(note)
        options = replace(general, timeline=found.timeline)
        candidates = [row for rule in selection.pairs for row in ALL_RULES[rule](found.images, options)]
        candidates = without_repeats(candidates)
        participant = _participant(config, dataset, subject, candidates, no_pair_message(subject, found))
        yield replace(participant, left_out=found.left_out)


def refuse_nothing(config: RunConfig, participants: Sequence[Participant]) -> None:
    """End the run where there are participants and none has a pair.

    Raises
    ------
    NothingSelectedError
        If filters or labels may have removed everything.
    MissingInputError
        If the data have no pair.
    """
    if not participants or any(participant.jobs for participant in participants):
        return
    narrowing = " and ".join(_narrowing(config.selection))
    may_be_why = f" {narrowing} may be why." if narrowing else ""
    error = NothingSelectedError if narrowing else MissingInputError
    where = "The table shows" if config.dry_run else "--dry-run shows"
    msg = (
        f"{config.bids_dir}: nothing to register. {why_none(participants)}{may_be_why} "
        f"{where} every image, and why it is not taken."
    )
    raise error(msg)


def why_none(participants: Sequence[Participant]) -> str:
    """Say why participants have no pair, each reason once, with how many have it; the most common ones."""
    alike: defaultdict[str, list[Participant]] = defaultdict(list)
    for each in participants:
        alike[each.message.replace(f"sub-{each.subject}", "sub-")].append(each)
    kinds = sorted(alike.values(), key=len, reverse=True)
    told = " ".join(_with_count(kind) for kind in kinds[:MOST_REASONS])
    rest = sum(map(len, kinds[MOST_REASONS:]))
    return f"{told} {rest} more for other reasons." if rest else told


def _with_count(alike: Sequence[Participant]) -> str:
    """Tell what participants have in common."""
    first, others = alike[0], len(alike) - 1
    name = f"sub-{first.subject}"
    return first.message.replace(f"{name}:", f"{name} and {others} more:", 1) if others else first.message


def _narrowing(selection: Selection) -> Iterator[str]:
    """Name the options that may have removed everything."""
    given = {
        "--session-label": selection.session_label,
        "--bids-filter-file": selection.bids_filter_file,
        "--longitudinal-base": selection.longitudinal_base,
        "--moving-suffix": selection.moving_suffix,
        "--fixed-suffix": selection.fixed_suffix,
    }
    return (option for option, value in given.items() if value)


def _of_pairs_file(
    config: RunConfig, dataset: Dataset, subjects: Sequence[str], rows: Sequence[Candidate]
) -> Iterator[Participant]:
    """Share the rows out; one that --participant-label cannot name is shown, but not taken."""
    for subject in subjects:
        own = [row for row in rows if row.moving.subject == subject]
        yield _participant(config, dataset, subject, own, f"sub-{subject}: no usable row in the pairs file.")
    if not config.selection.participant_label:
        return
    known = {*subjects, *dataset.subjects()}
    for subject in dict.fromkeys(row.moving.subject for row in rows if row.moving.subject not in known):
        why = f"has no folder in {dataset.root}, so --participant-label leaves it out"
        own = [
            replace(row, pair=None, reason=f"sub-{subject} {why}" if row.taken else row.reason)
            for row in rows
            if row.moving.subject == subject
        ]
        yield _participant(config, dataset, subject, own, f"sub-{subject}: {why}. Run without the option.")


def _participant(
    config: RunConfig, dataset: Dataset, subject: str, candidates: Sequence[Candidate], message: str
) -> Participant:
    pairs = [with_derivatives(pair, dataset) for pair in pairs_of(candidates)]
    pairs = with_extras(pairs, dataset, config.selection)
    if not config.settings.lesion_masks:
        pairs = [without_lesion_masks(pair) for pair in pairs]
    outputs = all_outputs(pairs, config.output_dir, owner_on_disk)
    searched = [
        Job(pair, out, dataset.truth(pair.fixed, pair.moving))
        for pair, out in zip(pairs, outputs, strict=True)
        if pair.via is None
    ]
    jobs = (*searched, *_composed(zip(pairs, outputs, strict=True), searched))
    told = ("" if jobs else message, unusable_message(subject, candidates))
    return Participant(subject, tuple(candidates), jobs, " ".join(filter(None, told)))


def _composed(pairs: Iterable[tuple[Pair, Outputs]], searched: Sequence[Job]) -> Iterator[Job]:
    """Jobs that put two maps together: onto the image between, and from there onto the fixed one."""
    by_images = {(job.pair.fixed, job.pair.moving): job for job in searched}
    for pair, outputs in pairs:
        if pair.via is not None:
            parts = by_images[pair.via, pair.moving], by_images[pair.fixed, pair.via]
            yield Job(without_lesion_masks(pair), outputs, parts=parts)


def _templates(config: RunConfig, dataset: Dataset) -> tuple[Template, ...]:
    """Templates of the output spaces; a dry run fetches none, because it writes nothing."""
    fetch = config.fetch_templates and not config.dry_run
    templates = find_templates(config.selection.output_spaces, fetch=fetch)
    for note in (note for template in templates for note in template.notes):
        LOG.warning(note)
    _check_names(templates, dataset)
    return templates


def _check_names(templates: Sequence[Template], dataset: Dataset) -> None:
    """Refuse a local template with the name of a derivative data set: a BIDS URI could mean either."""
    clash = {name for name, _ in dataset.derivatives} & {template.dataset for template in templates}
    if clash:
        name = clash.pop()
        msg = f"--output-spaces and --derivatives both use the name {name}. Give one of them another name."
        raise UsageError(msg)
