"""Write the miniature's raw data: corpora with planted faults, tasks, instructions, and the truth about all of it.

python runs/tiny_data/write.py --config configs/tiny-base.yaml

Everything comes from small grammars and a seed; the same seed gives the same bytes. `truth.json` says for each source
which unit is what. Copies lie outside dawiki, where a page's markup would stand between a text and its copy.
"""

import bz2
import gzip
import io
import json
import random
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from runs.tiny_data import danish, english, noise, tasks
from snakmodel.config import knob, read_command, run_script
from snakmodel.records import begin, write_beside, write_json, write_jsonl

SOURCES = {
    "eubookshop": (danish.narrative, danish.nature),
    "dawiki": (danish.encyclopedia,),
    "danewsroom": (danish.news, danish.weather),
    "reddit": (danish.opinion, danish.questions),
}
FOREIGN = {"no": 0.04, "sv": 0.03, "en": 0.03}  # shares of the clean documents
JUNK = EXACT = NEAR = 0.0
ITEMS = 300  # questions of a task
INSTRUCTIONS = 800


@dataclass
class Settings:
    documents: int = knob(12_000, "clean Danish documents; as many English ones", low=200)
    seed: int = knob(8446, "of everything that is drawn")
