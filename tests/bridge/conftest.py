from __future__ import annotations

import sys
from pathlib import Path

for folder in ("bridge", "mesh", "store"):  # documents are made where they are tested
    sys.path.append(str(Path(__file__).parents[1] / folder))
