"""`tools/guests/verify/make.py` as a module: it packs the inputs of the verification guests."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

PATH = Path(__file__).resolve().parents[1] / "tools" / "guests" / "verify" / "make.py"


@cache
def load_packer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_make", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
