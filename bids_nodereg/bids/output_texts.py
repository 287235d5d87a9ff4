"""Texts for people at the root of the output data set."""

from __future__ import annotations

import json

from bids_nodereg.plain_text import printable

NAME = "nodereg"
CODE_URL = "https://github.com/nodereg/nodereg"

_README = """\
# Registered images of {name}

Made by nodereg, which registers images of different contrasts by a diffeomorphism. This is a BIDS
derivative data set; `dataset_description.json` tells from which data and with which version.

| file | what it is |
|---|---|
| `*_from-A_to-B_mode-image_xfm.h5` | ITK composite transform: resamples image A onto the grid of B |
| `*_from-A_to-B_mode-image_xfm.json` | how it was made: sources, settings, software, times |
| `*_desc-affine_xfm.txt` (to a template `.tfm`) | its affine part |
| `*_desc-warp_xfm.nii.gz`, `*_desc-inversewarp_xfm.nii.gz` | its displacements, and those of the inverse |
| `*_desc-jacobian_xfm.nii.gz` | Jacobian determinant: a scalar map, not a transform |
| `*_desc-logjacobian_xfm.nii.gz` | its natural logarithm, for statistics |
| `*_desc-velocity*_xfm.nii.gz` | velocity field whose flow is `desc-warp`, where it was asked for |
| `*_space-B_desc-nodereg_*.nii.gz` | image A on the grid of B, interpolated once from the original |
| `*_space-B_desc-*from*_dseg.nii.gz` | label maps of image A on the grid of B |
| `*_space-B_desc-*from*_mask.nii.gz`, `*_probseg.nii.gz` | masks and tissue maps of image A, likewise |
| `*_space-B_desc-*` with other ends | more files of image A that were asked for with `--apply-to` |
| `*_space-A_desc-brain_mask.nii.gz` | brain that was found in image A of the data set |
| `*_qc.json` | quality measures with units, thresholds and a verdict |
| `sub-*.html` | report of a participant |
| `sub-*/figures/*_viewer.html` | a pair to scroll through, with `--interactive-report` |
| `group_registration.*` | quality measures of all participants |

The entities before `from-` are those of image A. `to-T1wrun2`, `to-ses1T1w`, `to-sub02T1w` say which
of several T1w images was the reference; `Sources` in the sidecar names both files.

Using a transform:

    antsApplyTransforms -d 3 -i A.nii.gz -r B.nii.gz -t sub-01_from-A_to-B_mode-image_xfm.h5 -o out.nii.gz

    SimpleITK.Resample(A, B, SimpleITK.ReadTransform("sub-01_from-A_to-B_mode-image_xfm.h5"))

Points go the other way round: the same file takes points of B to points of A.
"""


def readme_text(name: str) -> str:
    """README.md of the output of the data set ``name``."""
    return _README.format(name=_in_one_line(name))


def _in_one_line(text: str) -> str:
    """Text in one line without markup: viewers of Markdown pass HTML on."""
    return " ".join(printable(text).split()).replace("&", "&amp;").replace("<", "&lt;")


def citation_text(name: str, version: str) -> str:
    """CITATION.cff of the output of the data set ``name``."""
    # JSON strings are valid YAML strings, whatever the name holds
    return f"""cff-version: 1.2.0
message: "If you use these data, please cite the source data set and the software."
type: dataset
title: {json.dumps(f"{NAME}: registered images of {name}")}
authors:
  - name: "The nodereg developers"
references:
  - type: software
    title: "nodereg: multi-contrast diffeomorphic registration of brain images"
    version: {json.dumps(version)}
    repository-code: {json.dumps(CODE_URL)}
    authors:
      - name: "The nodereg developers"
  - type: article
    title: "MIND: Modality independent neighbourhood descriptor for multi-modal deformable registration"
    doi: 10.1016/j.media.2012.05.008
    year: 2012
    journal: "Medical Image Analysis"
    authors:
      - family-names: Heinrich
        given-names: Mattias P.
      - name: "et al."
"""
