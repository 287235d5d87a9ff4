"""All output paths of one pair, below one output folder.

The moving image's entities lead every name, its folder is where the files lie (so a pair across
participants lies with the moving one), and ``from-``/``to-``/``space-`` say what was registered.
A label is the contrast alone, ``to-T1w``, as long as that is unambiguous:

- a fixed image of another participant or session always says so: ``to-sub02T1w``, ``to-ses1T1w``;
- a template has the name of its space, ``to-MNI152NLin2009cAsym``, as fMRIPrep and its ``--derivatives``
  write and read it; images on a certain resolution of it add ``res-``;
- names that would clash within the run get the fixed image's other entities, ``to-T1wrun2``, and
  where the contrast of both is the same, the moving one's too: ``from-T1wcegad_to-T1w``;
- what still clashes gets a digest of the paths of both images.

So any two different pairs of a run have disjoint names, whatever the rules and the pairs file say.
Names that an earlier run gave to other pairs are passed over in the same way, and a pair that has a
name already keeps it, so that one output folder may hold the results of many runs.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bids_nodereg.bids.inside import checked_folder, checked_name, refuse_links_out
from bids_nodereg.bids.names import Entity, build_name, clean_label

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bids_nodereg.bids.extras import Extra
    from bids_nodereg.bids.image import Image
    from bids_nodereg.bids.pairs import Pair
    from bids_nodereg.bids.templates import Template

# How much a label says. Each level is tried where the one before leaves a clash.
_LEVELS = _SHORT, _ENTITIES, _DIGEST = 0, 1, 2

Owner = Literal["nobody", "this pair", "another pair"]
FindOwner = Callable[["Pair", "Outputs"], Owner]


@dataclass(frozen=True)
class Outputs:
    """Every output path of one pair, all of them inside the output folder; nothing is written by it.

    Attributes
    ----------
    out_dir
        Root of the output data set.
    folder
        Where the files of the pair lie: ``sub-<moving>/[ses-<moving>/]anat``.
    lead
        Entities of the moving image, with short keys.
    moving_suffix
        Contrast of the moving image.
    from_label, to_label
        Labels of the moving and of the fixed image.
    resolutions
        Labels of ``res-`` of the images in the fixed space; an empty one leaves it out. The images are
        written once for each, and the paths here are those of the first (:meth:`at`).
    to_template
        Whether the fixed image is that of a template.

    Raises
    ------
    OutputError
        When it is made, or asked for a path: if a label would lead outside, or makes too long a name.
    """

    out_dir: Path
    folder: Path
    lead: tuple[Entity, ...]
    moving_suffix: str
    from_label: str
    to_label: str
    resolutions: tuple[str, ...] = ("",)
    to_template: bool = False

    def __post_init__(self) -> None:
        """Check the folders, of which all paths are made."""
        for folder in (self.folder, self.figures_dir):
            checked_folder(folder, self.out_dir)

    def refuse_links_out(self) -> None:
        """Refuse to write where a symbolic link in the output folder leads outside.

        Raises
        ------
        OutputError
            If one does.
        """
        refuse_links_out(self.out_dir, (self.folder, self.figures_dir))

    def at(self, resolution: str) -> Outputs:
        """Give the same outputs with the images in the fixed space at one resolution."""
        return replace(self, resolutions=(resolution,))

    @property
    def name(self) -> str:
        """Stem that names the pair, ``sub-01_from-T2w_to-T1w``; for status records and logs."""
        return build_name(self._transform(inverse=False), "", "").removesuffix("_")

    @property
    def claim(self) -> str:
        """Stem that names the pair and the one in the other direction alike, because they share files.

        What is the forward transform of one has the name of the other's inverse.
        """
        stems = (build_name(self._transform(inverse=inverse), "", "") for inverse in (False, True))
        return min(stems).removesuffix("_")

    @property
    def forward_h5(self) -> Path:
        """Composite ITK transform: takes fixed to moving points, so it pulls the moving image."""
        return self._xfm(".h5")

    @property
    def forward_json(self) -> Path:
        """Sidecar of the forward transform; written last, it is the mark that the pair is done."""
        return self._xfm(".json")

    @property
    def inverse_h5(self) -> Path:
        """Composite ITK transform that pulls the fixed image onto the moving grid."""
        return self._xfm(".h5", inverse=True)

    @property
    def inverse_json(self) -> Path:
        """Sidecar of the inverse transform."""
        return self._xfm(".json", inverse=True)

    @property
    def affine_txt(self) -> Path:
        """Affine part of the forward transform, ITK text.

        On the way to a template it ends in ``.tfm``, which ITK programs read alike: fMRIPrep takes
        every ``.txt`` and ``.h5`` between two spaces for a whole transform, and one is all it can use.
        """
        return self._xfm(".tfm" if self.to_template else ".txt", "affine")

    @property
    def warp_nii(self) -> Path:
        """Displacement part of the forward transform."""
        return self._xfm(".nii.gz", "warp")

    @property
    def inverse_warp_nii(self) -> Path:
        """Displacement part of the inverse transform, on the same grid as the forward one's."""
        return self._xfm(".nii.gz", "inversewarp")

    @property
    def jacobian_nii(self) -> Path:
        """Jacobian determinant of the forward transform."""
        return self._xfm(".nii.gz", "jacobian")

    @property
    def jacobian_json(self) -> Path:
        """Sidecar of the Jacobian determinant."""
        return self._xfm(".json", "jacobian")

    @property
    def logjacobian_nii(self) -> Path:
        """Natural logarithm of the Jacobian determinant."""
        return self._xfm(".nii.gz", "logjacobian")

    @property
    def logjacobian_json(self) -> Path:
        """Sidecar of the logarithm."""
        return self._xfm(".json", "logjacobian")

    def velocity_nii(self, part: int = 1, parts: int = 1) -> Path:
        """Velocity field, or the one of a part of the time, from 1 on."""
        return self._xfm(".nii.gz", velocity_desc(part, parts))

    def velocity_json(self, part: int = 1, parts: int = 1) -> Path:
        """Sidecar of a velocity field."""
        return self._xfm(".json", velocity_desc(part, parts))

    @property
    def warped_nii(self) -> Path:
        """Moving image on the fixed grid."""
        return self._in_fixed_space("nodereg", self.moving_suffix, ".nii.gz")

    @property
    def warped_json(self) -> Path:
        """Sidecar of the warped image."""
        return self._in_fixed_space("nodereg", self.moving_suffix, ".json")

    @property
    def qc_json(self) -> Path:
        """Quality measures."""
        entities = (*self._transform(inverse=False), ("mode", "image"))
        return self.folder / checked_name(build_name(entities, "qc", ".json"))

    @property
    def report_html(self) -> Path:
        """Report of the participant, one for all its pairs."""
        return self.out_dir / checked_name(f"sub-{dict(self.lead)['sub']}.html")

    @property
    def figures_dir(self) -> Path:
        """Folder for figures of the participant."""
        return self.out_dir / f"sub-{dict(self.lead)['sub']}" / "figures"

    @property
    def searched_only(self) -> tuple[Path, ...]:
        """What a search leaves and a composition does not, velocity fields aside."""
        return (
            *(self.affine_txt, self.warp_nii, self.inverse_warp_nii),
            *(self.jacobian_nii, self.jacobian_json, self.logjacobian_nii, self.logjacobian_json),
        )

    def carried_desc(self, desc: str) -> str:
        """Label of the moving image's label map ``desc`` once carried: ``aseg`` becomes ``asegfromT2w``."""
        return f"{clean_label(desc)}from{self.from_label}"

    def carried_nii(self, desc: str) -> Path:
        """Label map ``desc`` of the moving image, on the fixed grid."""
        return self._in_fixed_space(self.carried_desc(desc), "dseg", ".nii.gz")

    def carried_json(self, desc: str) -> Path:
        """Sidecar of a carried label map."""
        return self._in_fixed_space(self.carried_desc(desc), "dseg", ".json")

    def carried_tsv(self, desc: str) -> Path:
        """Names of the labels of a carried label map."""
        return self._in_fixed_space(self.carried_desc(desc), "dseg", ".tsv")

    def extra_desc(self, extra: Extra) -> str:
        """``desc-`` label of a carried file: says from which contrast, where the suffix does not."""
        says_it = extra.suffix == self.moving_suffix and extra.desc not in {"", "nodereg"}
        return clean_label(extra.desc) if says_it else self.carried_desc(extra.desc)

    def extra_nii(self, extra: Extra) -> Path:
        """Another file of the moving image, on the fixed grid."""
        return self._in_fixed_space(self.extra_desc(extra), extra.suffix, ".nii.gz", extra.entities)

    def extra_json(self, extra: Extra) -> Path:
        """Sidecar of such a file."""
        return self._in_fixed_space(self.extra_desc(extra), extra.suffix, ".json", extra.entities)

    def uri(self, path: Path) -> str:
        """BIDS URI of an output, ``bids::sub-01/...``."""
        return f"bids::{path.relative_to(self.out_dir).as_posix()}"

    def paths(self, descs: Sequence[str] = (), extras: Sequence[Extra] = ()) -> tuple[Path, ...]:
        """All files of this pair alone at every resolution, those of what is carried along included.

        Parameters
        ----------
        descs
            Label maps of the moving image.
        extras
            Its other files.
        """
        first = self._paths(descs, extras)  # a transform in it twice is a clash that must be seen
        others = (path for res in self.resolutions[1:] for path in self.at(res)._paths(descs, extras))
        return (*first, *(path for path in others if path not in first))

    def _paths(self, descs: Sequence[str], extras: Sequence[Extra]) -> tuple[Path, ...]:
        carried = [
            path(desc) for desc in descs for path in (self.carried_nii, self.carried_json, self.carried_tsv)
        ]
        carried += [path(extra) for extra in extras for path in (self.extra_nii, self.extra_json)]
        return (
            *(self.forward_h5, self.forward_json, self.inverse_h5, self.inverse_json),
            *(self.affine_txt, self.warp_nii, self.inverse_warp_nii),
            *(self.logjacobian_nii, self.logjacobian_json),
            *(self.jacobian_nii, self.jacobian_json, self.warped_nii, self.warped_json, self.qc_json),
            *dict.fromkeys(carried),  # no longer label would tell two of them apart
        )

    def _transform(self, *, inverse: bool) -> tuple[Entity, ...]:
        labels = (self.to_label, self.from_label) if inverse else (self.from_label, self.to_label)
        return (*self.lead, ("from", labels[0]), ("to", labels[1]))

    def _xfm(self, extension: str, desc: str = "", *, inverse: bool = False) -> Path:
        entities = (*self._transform(inverse=inverse), ("mode", "image"))
        described = (*entities, ("desc", desc)) if desc else entities
        return self.folder / checked_name(build_name(described, "xfm", extension))

    def _in_fixed_space(self, desc: str, suffix: str, extension: str, more: Sequence[Entity] = ()) -> Path:
        res = (("res", self.resolutions[0]),) if self.resolutions[0] else ()
        entities = (*self.lead, ("space", self.to_label), *res, *more, ("desc", desc))
        return self.folder / checked_name(build_name(entities, suffix, extension))


def velocity_desc(part: int, parts: int) -> str:
    """``desc-`` label of a velocity field; a part of the time has its number in it."""
    return "velocity" if parts == 1 else f"velocity{part}of{parts}"


def _free(_pair: Pair, _outputs: Outputs) -> Owner:
    return "nobody"


def all_outputs(pairs: Sequence[Pair], out_dir: Path, find_owner: FindOwner = _free) -> tuple[Outputs, ...]:
    """Output paths of all pairs, in their order.

    Parameters
    ----------
    pairs
        All pairs of the run that have the same moving participant; more do no harm. They decide how
        much the labels must say.
    out_dir
        Root of the output data set.
    find_owner
        Says whose the files of a name are, such as
        :func:`bids_nodereg.bids.owner.owner_on_disk`. A pair keeps a name that is its own and never
        takes one that is another's.
    """
    groups: dict[tuple[Entity, ...], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(_lead(pair.moving), []).append(pair)
    found: dict[tuple[Path, Path], Outputs] = {}
    for group in groups.values():
        found |= _outputs_of_group(group, out_dir, find_owner)
    return tuple(found[_key(pair)] for pair in pairs)


def _outputs_of_group(
    group: Sequence[Pair], out_dir: Path, find_owner: FindOwner
) -> dict[tuple[Path, Path], Outputs]:
    """Name pairs that share the moving image's entities, saying more wherever names clash."""
    choices = {_key(pair): _choices(pair, out_dir, find_owner) for pair in group}
    carried = {_key(pair): ([each.desc for each in pair.moving_dseg], pair.moving_extras) for pair in group}
    while True:
        # a file system may not tell upper from lower case, so names must differ in more than that
        paths = {
            key: [str(path).casefold() for path in left[0].paths(*carried[key])]
            for key, left in choices.items()
        }
        uses = Counter(path for files in paths.values() for path in files)
        clashing = [key for key, files in paths.items() if any(uses[path] > 1 for path in files)]
        raised = [key for key in clashing if len(choices[key]) > 1]
        if not raised:
            return {key: left[0] for key, left in choices.items()}
        choices |= {key: choices[key][1:] for key in raised}


def _choices(pair: Pair, out_dir: Path, find_owner: FindOwner) -> list[Outputs]:
    """Names that a pair may have, the preferred one first: only its own if it has one already."""
    names = [_outputs(pair, level, out_dir) for level in _LEVELS]
    free = []
    for name in names:
        owner = find_owner(pair, name)
        if owner == "this pair":  # each name costs the reading of files: the rest is not looked at
            return [name]
        if owner == "nobody":
            free.append(name)
    return free or names[-1:]


def _outputs(pair: Pair, level: int, out_dir: Path) -> Outputs:
    if pair.template is not None:
        return _of_template(pair, pair.template, level, out_dir)
    fixed, moving = pair.fixed, pair.moving
    session = () if moving.session is None else (f"ses-{moving.session}",)
    return Outputs(
        out_dir=out_dir,
        folder=out_dir.joinpath(f"sub-{moving.subject}", *session, "anat"),
        lead=_lead(moving),
        moving_suffix=moving.suffix,
        from_label=_from_label(fixed, moving, level),
        to_label=_to_label(fixed, moving, level),
    )


def _of_template(pair: Pair, template: Template, level: int, out_dir: Path) -> Outputs:
    """Names of a pair with a template: its space and nothing else says what the fixed image is.

    An image that goes through another one of its own contrast says more than the contrast, so that
    ``from-T1w`` is the reference alone, which is what fMRIPrep takes it for.
    """
    outputs = _outputs(replace(pair, template=None), _SHORT, out_dir)
    if pair.via is not None and pair.via.suffix == pair.moving.suffix:
        outputs = replace(outputs, from_label=clean_label(pair.moving.suffix) + _entity_text(pair.moving))
    label = template.space + (_digest(pair.fixed, pair.moving) if level >= _DIGEST else "")
    resolutions = tuple(grid.res for grid in template.grids)
    return replace(outputs, to_label=label, resolutions=resolutions, to_template=True)


def _to_label(fixed: Image, moving: Image, level: int) -> str:
    other_subject = "" if fixed.subject == moving.subject else f"sub{fixed.subject}"
    other_session = "" if fixed.session == moving.session else f"ses{fixed.session or ''}"
    label = clean_label(other_subject + other_session + fixed.suffix)
    label += _entity_text(fixed) if level >= _ENTITIES else ""
    return label + (_digest(fixed, moving) if level >= _DIGEST else "")


def _from_label(fixed: Image, moving: Image, level: int) -> str:
    is_self_clash = level >= _ENTITIES and _to_label(fixed, moving, _SHORT) == moving.suffix
    return clean_label(moving.suffix) + (_entity_text(moving) if is_self_clash else "")


def _entity_text(image: Image) -> str:
    """Entities beyond subject and session as part of a label: ``acqmpragerun2``."""
    return clean_label(
        "".join(key + label for key, label in image.short_entities if key not in {"sub", "ses"})
    )


def _digest(*images: Image) -> str:
    text = "\n".join(f"{image.dataset}:{image.relative}" for image in images)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _lead(moving: Image) -> tuple[Entity, ...]:
    """Entities of the moving image that lead the names; those of a derivative's own processing do not."""
    return tuple(entity for entity in moving.short_entities if entity[0] not in {"space", "desc", "res"})


def _key(pair: Pair) -> tuple[Path, Path]:
    return (pair.fixed.path, pair.moving.path)
