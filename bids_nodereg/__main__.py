"""``python -m bids_nodereg`` is ``run.py``."""

import sys

from bids_nodereg.cli import entry_point

sys.exit(entry_point())
