"""What both sides of a simulated job share: being down now and then, and calls that die with the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from work_simulation import World


class Host:
    """One side: a process that dies and comes back, and the world that it lives in."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.up = True
        self.epoch = 0

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        """A task of this process: it dies with it."""
        epoch = self.epoch
        self.world.after(delay_ms, lambda: call() if self.epoch == epoch else None)

    def heard(self, call: Callable[[], None]) -> Callable[[], None]:
        """A message that arrives here, if somebody listens."""
        return lambda: call() if self.up else None

    def crash(self) -> None:
        self.up = False
        self.epoch += 1
        self.world.after(self.world.rng.randint(1, 3_000), self._back)

    def _back(self) -> None:
        self.up = True
        self.restart()

    def restart(self) -> None: ...

    def crashes(self) -> bool:
        """Whether the process dies at this very point."""
        if self.world.chance(self.world.plan.weather.crash):
            self.crash()
            return True
        return False
