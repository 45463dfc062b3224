"""Asking neighbours for what they heard since they were last asked: page by page, each from the number where it ended.

A neighbour is asked when it is met, when it comes back, and every so many greetings. One that counts from 0 again was
restarted and is asked from the beginning. Where each was left is remembered for `MAX_PULLED_FROM` neighbours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from icn_lite.model.did import Did

MAX_PULLED_FROM: Final = 512  # neighbours whose place is remembered
Page: TypeAlias = Callable[[int], Awaitable[tuple[int, int]]]  # from a number on: how many came, where to go on


class Pulling:
    """The places up to which neighbours were heard: asked every `every` greetings, for `pages` of `page` at most."""

    def __init__(self, every: int, page: int, pages: int) -> None:
        self._every = every
        self._page = page
        self._pages = pages
        self._places: dict[Did, int] = {}
        self._greetings: dict[Did, int] = {}

    async def met(self, did: Did, page: Page, *, anew: bool) -> None:
        """A greeting was answered: take in what that neighbour has heard, unless it was asked lately.

        `page` takes one page in; what it raises ends the pulling, and the next begins where this one did.
        """
        count = self._greetings.get(did, 0)
        self._greetings[did] = count + 1
        if not anew and count % self._every:
            return
        if len(self._greetings) > MAX_PULLED_FROM:
            self._greetings.clear()
            self._places.clear()
        start = self._places.get(did, 0)
        for _ in range(self._pages):
            found, after = await page(start)
            again = after < start  # it was restarted and counts from 0
            start = 0 if again else after
            if not again and found < self._page:
                break
        self._places[did] = start
