"""A small pair report for the tests of the pages, and a reader that checks what a page is made of."""

from __future__ import annotations

from html.parser import HTMLParser

from bids_nodereg.quality.overlap import LabelOverlap
from bids_nodereg.quality.records import InputImage, MethodsFacts, OutputFiles, PairReport
from bids_nodereg.quality.verdict import Verdict

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'
VOID = {"meta", "img", "input", "br", "link", "hr"}


class Page(HTMLParser):
    """Collects identifiers, links and loaded addresses, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.scripts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.elements.append((tag, tuple(values)))
        assert not [name for name in values if name.startswith("on")]
        self.ids += [values["id"]] if values.get("id") else []
        if tag == "a":
            self.links.append(values["href"] or "")
        elif values.keys() & {"src", "href"}:
            self.loads.append(values.get("src") or values.get("href") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


FACTS = MethodsFacts(
    version="0.1.0",
    fixed_contrasts=("T1w",),
    moving_contrasts=("T2w", "FLAIR", "T2w"),
    transform="deformable",
    descriptor="mind-ssc",
    velocity="a convolutional neural network",
    solver="rk4",
    steps=2,
    iterations=(100, 50),
    spacing_mm=1.5,
    folding_epsilon=0.1,
    software=(("PyTorch", "2.9"),),
)


def image(name: str, contrast: str) -> InputImage:
    return InputImage(name, contrast, (24, 31, 19), (1.0, 1.7, 2.3), "LAS", "computed", notes=("a note",))


def pair_report(**changes: object) -> PairReport:
    values = {
        "key": "t2w-t1w",
        "title": "T2w onto T1w",
        "rule": "within-session",
        "fixed": image("sub-01_T1w.nii.gz", "T1w"),
        "moving": image("sub-01_T2w.nii.gz", "T2w"),
        "measures": {"nmi_before": 1.1, "nmi_after": 1.25, "folded_voxels": 12.0, "folded_fraction": 0.0004},
        "verdict": Verdict("check", ("The map folds.",)),
        "figures": {},
        "outputs": OutputFiles("forward.h5", "inverse.h5", "affine.txt", "warp.nii.gz", "warped.nii.gz"),
        "labels_before": (LabelOverlap(1, "cortex", 0.5, 3.0, 10.0, 11.0),),
        "labels_after": (LabelOverlap(1, "cortex", 0.8, None, 10.0, 10.5),),
        "facts": FACTS,
        "settings": {"Preset": "default"},
        "provenance": {"Device": "cpu"},
    }
    return PairReport(**{**values, **changes})
