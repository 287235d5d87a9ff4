"""Which pairs are registered: names and files, no images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

Kind = Literal["real", "exact", "mono", "known"]

UNRELIABLE = (4, 11, 12, 16)
"""Classes whose automatic labels are poor: inferior lateral, third and fourth ventricle, accumbens."""

SPACING_MM = {"real": 1.5, "exact": 1.5, "mono": 1.5, "known": 1.0}
SUBJECTS = {
    "kirby": "ds-brain/sub-kirby113/anat/sub-kirby113_{contrast}.nii.gz",
    "oms": "ds-brain/sub-openms07/anat/sub-openms07_{contrast}.nii.gz",
    "vxm": "ds-brain/sub-vxm01/anat/sub-vxm01_{contrast}.nii.gz",
    "mni": "templates/tpl-MNI152NLin6Asym/tpl-MNI152NLin6Asym_res-01_desc-brain_{contrast}.nii.gz",
    "synth01": "ds-synthetic/sub-synth01/anat/sub-synth01_{contrast}.nii.gz",
    "synth02": "ds-synthetic/sub-synth02/anat/sub-synth02_{contrast}.nii.gz",
}
LABELS = {
    "kirby": "ds-brain/derivatives/seg-auto/sub-kirby113/anat/sub-kirby113_space-T1w_desc-sae18_dseg.nii.gz",
    "oms": "ds-brain/derivatives/seg-auto/sub-openms07/anat/sub-openms07_space-T1w_desc-sae18_dseg.nii.gz",
    "vxm": "ds-brain/derivatives/freesurfer/sub-vxm01/anat/sub-vxm01_desc-sae18_dseg.nii.gz",
    "mni": "templates/tpl-MNI152NLin6Asym/tpl-MNI152NLin6Asym_res-01_desc-sae18_dseg.nii.gz",
    "synth01": "ds-synthetic/derivatives/labels/sub-synth01/anat/sub-synth01_desc-sae18_dseg.nii.gz",
    "synth02": "ds-synthetic/derivatives/labels/sub-synth02/anat/sub-synth02_desc-sae18_dseg.nii.gz",
}
MASKS = {"mni": "templates/tpl-MNI152NLin6Asym/tpl-MNI152NLin6Asym_res-01_desc-brain_mask.nii.gz"}
CONTRASTS = {
    "kirby": ("T1w", "T2w", "FLAIR"),
    "oms": ("T1w", "T2w", "FLAIR"),
    "vxm": ("T1w",),
    "mni": ("T1w", "T2w"),
}


@dataclass(frozen=True)
class Scan:
    """One image of one person."""

    subject: str
    contrast: str

    @property
    def image(self) -> str:
        """Path below the folder of real images."""
        return SUBJECTS[self.subject].format(contrast=self.contrast)

    @property
    def labels(self) -> str:
        """Path of the labels, which lie on the grid of the T1w image."""
        return LABELS[self.subject]

    @property
    def mask(self) -> str | None:
        """Path of a brain mask; None: found in the image."""
        return MASKS.get(self.subject)

    def __str__(self) -> str:
        """Give the name as it is written in a case."""
        return f"{self.subject}{self.contrast.removesuffix('w')}"


@dataclass(frozen=True)
class Case:
    """One ordered pair; for kind `known` the moving image is warped by a random flow of this seed."""

    kind: Kind
    fixed: Scan
    moving: Scan
    seed: int | None = None

    @property
    def name(self) -> str:
        """Folder name: fixed, then moving."""
        start = "" if self.kind in ("real", "exact") else f"{self.kind}-"
        return f"{start}{self.fixed}-{self.moving}" + ("" if self.seed is None else f"-seed{self.seed}")


def case_sets() -> dict[str, tuple[Case, ...]]:
    """Name of each set of cases -> its cases, the most wanted first."""
    real, mono = _real(), _mono()
    sets = {
        "real-fast": real[:4],
        "real-first": real[:8],
        "real": real[: len(FIRST_REAL)],
        "real-all": real,
        "exact": _exact(),
        "mono-first": mono[:2],
        "mono": mono,
        "known": _known(),
    }
    sets["all"] = (*real, *sets["exact"], *mono, *sets["known"])
    return sets


def choose(names: list[str]) -> tuple[Case, ...]:
    """Cases of the named sets and the singly named cases, each once, in the order asked for.

    Raises
    ------
    SystemExit
        If a name is neither a set nor a case.
    """
    sets = case_sets()
    known = {case.name: (case,) for case in sets["all"]}
    unknown = [name for name in names if name not in sets and name not in known]
    if unknown:
        msg = f"no such case: {', '.join(unknown)}. Sets: {', '.join(sets)}; cases: {', '.join(known)}."
        raise SystemExit(msg)
    return tuple(dict.fromkeys(case for name in names for case in {**known, **sets}[name]))


FIRST_REAL = (
    "kirbyT1-omsT2",
    "omsT1-kirbyT2",
    "kirbyT2-omsT1",
    "omsT2-kirbyT1",
    "vxmT1-kirbyT2",
    "vxmT1-omsT2",
    "kirbyT2-vxmT1",
    "omsT2-vxmT1",
    "kirbyT1-omsFLAIR",
    "omsFLAIR-kirbyT1",
    "omsT1-kirbyFLAIR",
    "mniT1-kirbyT2",
    "kirbyT2-mniT1",
    "vxmT1-omsFLAIR",
)


def _real() -> tuple[Case, ...]:
    """Every ordered T1w pair with a T2w or FLAIR of another person; the wanted ones first."""
    scans = [Scan(subject, contrast) for subject, held in CONTRASTS.items() for contrast in held]
    cases = {
        case.name: case
        for fixed, moving in product(scans, scans)
        if fixed.subject != moving.subject and (fixed.contrast == "T1w") != (moving.contrast == "T1w")
        for case in (Case("real", fixed, moving),)
    }
    first = tuple(cases.pop(name) for name in FIRST_REAL)
    return first + tuple(cases.values())


def _exact() -> tuple[Case, ...]:
    people, contrasts = ("synth01", "synth02"), ("T1w", "T2w")
    return tuple(
        Case("exact", Scan(fixed, contrast), Scan(moving, other))
        for contrast, other in (contrasts, contrasts[::-1])
        for fixed, moving in (people, people[::-1])
    )


def _mono() -> tuple[Case, ...]:
    pairs = (("kirby", "oms"), ("vxm", "kirby"), ("oms", "kirby"), ("kirby", "vxm"))
    return tuple(Case("mono", Scan(a, "T1w"), Scan(b, "T1w")) for a, b in pairs)


def _known() -> tuple[Case, ...]:
    pairs = (("kirby", "T1w", "T2w"), ("oms", "T1w", "T2w"), ("oms", "T2w", "T1w"))
    return tuple(Case("known", Scan(a, b), Scan(a, c), seed) for seed, (a, b, c) in enumerate(pairs, start=1))
