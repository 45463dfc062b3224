"""Where a node keeps what its device learned of itself: one small file of its home, written seldom.

Flash wears out and a model changes slowly, so the file is written every `SAVE_EVERY_S` and at the end of a node; a
power cut costs at most that. A file that can't be read or believed is left behind with a warning: the device learns
anew, and no limit depends on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from icn_lite.device.governor import Learned
from icn_lite.device.learned import MAX_TEXT, format_learned, parse_learned
from icn_lite.model.errors import StoreError
from icn_lite.node.care import Care
from icn_lite.node.files import write_whole

SAVE_EVERY_S: Final = 3_600
FILE_NAME: Final = "learned.json"
log = logging.getLogger(__name__)


class LearnedFile:
    """The file of one home, for one profile."""

    def __init__(self, home: Path, profile: str) -> None:
        self._path = home / FILE_NAME
        self._profile = profile
        self._kept = Learned()

    def load(self) -> Learned:
        """What was learned before; nothing where there is no file, or none to be believed."""
        try:
            with self._path.open("rb") as file:
                text = file.read(MAX_TEXT + 1).decode("utf-8", "replace")
            self._kept = parse_learned(text, self._profile)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("what the device learned can't be read: %s", error.strerror)
        except StoreError as error:
            log.warning("what the device learned is left behind: %s", error.message)
        return self._kept

    def save(self, learned: Learned) -> None:
        """Keep it, if anything was learned since the last time and the disk allows."""
        text = format_learned(learned, self._profile)
        if text == format_learned(self._kept, self._profile):
            return
        try:
            write_whole(self._path, text.encode("ascii"))
        except StoreError as error:
            log.warning("what the device learned can't be kept: %s", error.message)
        else:
            self._kept = learned

    @contextlib.asynccontextmanager
    async def beside(self, care: Care) -> AsyncIterator[None]:
        """Begin with what was learned; keep what is learned now and then, and at the end."""
        care.remember(self.load())
        keeping = asyncio.create_task(self._keep(care), name="learned")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            self.save(care.learned)

    async def _keep(self, care: Care) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            await asyncio.to_thread(self.save, care.learned)
