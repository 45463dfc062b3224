"""One node: opens the home, wires every part, owns every task, and puts all of it away again.

`Node.run` starts in this order: store (which takes the home's lock), sandbox, endpoint, drivers from their journals,
discovery, control socket; it ends in the reverse order, whatever happened. What comes in before the drivers are
back where the journal left them waits for them.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from icn_lite import __version__
from icn_lite.device.catalogue import detect, is_termux, load_profile
from icn_lite.device.profile import Profile
from icn_lite.device.sensors.hub import clock_ms
from icn_lite.market.settle import account_of, grant
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.limits import MeshLimits
from icn_lite.model import cose, document
from icn_lite.model.document import Sealed
from icn_lite.model.errors import IcnLiteError, PeerError, UsageError
from icn_lite.model.messages import CapabilityAdvertisementV1
from icn_lite.node import capability, views
from icn_lite.node.anchors import Anchors
from icn_lite.node.belonging import Belonging
from icn_lite.node.beyond import ThroughBridges
from icn_lite.node.calibration import applicable, calibrated, load_calibration
from icn_lite.node.care import Care
from icn_lite.node.carriage import Carriage
from icn_lite.node.clock import Clock
from icn_lite.node.commands import Commands
from icn_lite.node.config import Config, Role
from icn_lite.node.control import ControlServer, Json
from icn_lite.node.device_view import care_view
from icn_lite.node.directories import Directories
from icn_lite.node.execution import Executions
from icn_lite.node.handlers import Handlers
from icn_lite.node.home import Home
from icn_lite.node.learning import LearnedFile
from icn_lite.node.memberships import Memberships
from icn_lite.node.neighbourhood import Neighbourhood
from icn_lite.node.offers import ExecutorPolicy
from icn_lite.node.origination import Originations
from icn_lite.node.outlook import prices_of
from icn_lite.node.peerbook import Candidate as Proposed
from icn_lite.node.peerbook import PeerBook
from icn_lite.node.prepared_cache import PreparedCache
from icn_lite.node.preparing import Preparations, structural_limits
from icn_lite.node.sensing import device_state, sensors_beside
from icn_lite.node.shell import Shell
from icn_lite.node.storage import Storage
from icn_lite.node.syncing import Syncing
from icn_lite.sandbox.pool import Pool, PoolConfig
from icn_lite.store.db import Store
from icn_lite.store.peers import Found, PeerRecord
from icn_lite.wasm.limits import PAGE_BYTES

if TYPE_CHECKING:
    from icn_lite.node.bridging import Bridging

BUSY_TICK_S: Final = 0.25  # how late a deadline may be noticed while jobs or leases are open
IDLE_TICK_S: Final = 30.0  # without any, only greetings fall due, and they say when
GREETINGS_AT_ONCE: Final = 8
GREETING_MS: Final = 5_000
MIN_BLOCK_BYTES: Final = 16 << 20  # what every node can hand on, however small its guests
WELCOME_MANA: Final = 1_000  # what our ledger grants a bidder that it has never seen: stakes for its first jobs
HOUR_MS: Final = 3_600_000
COUNTER_PREFIX: Final = "refused:"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a node is made from."""

    home: Home
    config: Config
    signer: cose.Signer
    at_rest: Callable[[], None] = lambda: None  # called when no job and no lease is open any more


class Node:
    """A running node."""

    def __init__(self, options: NodeOptions) -> None:
        config = options.config
        self.options = options
        believed, self.profile_reason = profile_of(config)
        self.calibration = applicable(believed, load_calibration(options.home.calibration))
        self.profile = calibrated(believed, self.calibration)
        self.clock = Clock()
        self.preparations = Preparations(structural_limits(self.profile.wasm), PreparedCache(options.home.prepared))
        self.fuel = capability.FuelMeter(self.profile.prior.fuel_per_s, self.calibration)
        spares = 0 if is_termux() else 1  # Android ends processes past a number that all applications share
        self.pool = Pool(PoolConfig(capability.workers(self.profile, config), config.engine.value, spares=spares))
        storage = Storage(options.home.path, config.storage_mb << 20)
        self.shell = Shell(options.signer, self.clock, storage, PeerBook(options.signer.did))
        self.handlers = Handlers(self.shell, self.advert_block, self._refused)
        limits = MeshLimits(max_block_bytes=max(MIN_BLOCK_BYTES, self.profile.guest.memory_pages * PAGE_BYTES))
        self.memberships = Memberships(options.home.cooperatives, options.signer, self.clock, secrets.token_bytes)
        admission = None if config.open else self.memberships
        self.endpoint = Endpoint(EndpointConfig(config.bind, config.port, limits, admission), self.handlers)
        hub = sensors_beside(self.profile, config, self.pool)
        self.care = Care(self.profile, hub, self.pool, self.shell.changed.ring)
        self.care.fuel_per_s = lambda: self.fuel.fuel_per_s
        self.handlers.device_state = device_state(self.profile, hub)
        self.originations: Originations | None = None
        self.executions: Executions | None = None
        self.belonging: Belonging | None = None
        self.carriage: Carriage | None = None
        self.syncing: Syncing | None = None
        self.bridging: Bridging | None = None
        self.neighbourhood: Neighbourhood | None = None
        self._advert: Sealed[CapabilityAdvertisementV1] | None = None
        self._advert_seq = 0
        self._refusals: dict[str, int] = {}
        self._busy = False

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until cancelled; `ready` is called once everything listens."""
        async with AsyncExitStack() as stack:
            await self._start(stack)
            ready()
            while True:
                await self._tick()

    # -- start

    async def _start(self, stack: AsyncExitStack) -> None:
        config, shell = self.options.config, self.shell
        await shell.storage.open()
        stack.push_async_callback(shell.storage.close)
        await shell.storage.transact(self._open_accounts)
        self.memberships.load()
        self.memberships.ensure_one()
        await stack.enter_async_context(self.pool)
        await stack.enter_async_context(LearnedFile(self.options.home.path, self.profile.name).beside(self.care))
        await self.care.look()
        if not config.offline:
            await self._listen(stack)
        stack.push_async_callback(shell.tasks.close)
        if Role.SUBMIT in config.roles and not config.offline:
            self.originations = Originations(
                shell, bidding_ms=config.bidding_ms, pays_late=config.pay_late, welcome_mana=WELCOME_MANA
            )
            await self.originations.start()
        if Role.EXECUTE in config.roles:
            self.executions = Executions(shell, self.pool, self.preparations, self._policy())
            await self.executions.start()
        self.handlers.open(self.originations, self.executions)
        self.syncing = self.syncing or self._syncing(None)
        self.syncing.originations = self.originations
        await self.syncing.tend()
        if not config.offline:
            await self._propose_known()
            await self._discover(stack)
        shell.tasks.spawn(self.care.watch(), "care")
        control = ControlServer(self.options.home.control_socket, Commands(self).table())
        await control.start()
        stack.push_async_callback(control.close)

    async def _listen(self, stack: AsyncExitStack) -> None:
        """Open the port, and with it all ways to others."""
        shell = self.shell
        await self.endpoint.start()
        stack.push_async_callback(self.endpoint.close)
        shell.courier = client = Client(self.endpoint)
        shell.endpoints = self.endpoint.addresses()
        shell.job_changed = self.endpoint.notify_job
        if not self.options.config.open:
            self.carriage = Carriage(shell, client, self.memberships, self.handlers)
            shell.relays = self.handlers.carrier = self.carriage
            self.belonging = Belonging(shell, self.endpoint, client, self.memberships)
        self.syncing = self.handlers.syncing = self._syncing(client)
        await self._reach_beyond(stack)

    async def _reach_beyond(self, stack: AsyncExitStack) -> None:
        """Be a bridge, or know those that are."""
        shell, config = self.shell, self.options.config
        if not config.upstreams:
            shell.beyond = self.handlers.through = ThroughBridges(shell)
            return
        if config.open:
            raise UsageError("upstreams: a bridge hands over what members said, expected --guarded, found --open")
        from icn_lite.node.bridging import Bridging  # a bridge's alone, as NATS is
        from icn_lite.node.upstreams import open_upstreams

        upstreams = open_upstreams(config.upstreams, shell.signer)
        shell.beyond = self.handlers.bridge = self.bridging = Bridging(shell, config, self.handlers, upstreams)
        stack.push_async_callback(self.bridging.close)
        await self.bridging.start()

    def _syncing(self, client: Client | None) -> Syncing:
        config = self.options.config
        anchors = Anchors(frozenset(config.anchors), None if config.open else self.memberships)
        return Syncing(self.shell, client, anchors, anchor=config.anchor, budget_bytes=config.storage_mb << 20)

    def _open_accounts(self, store: Store) -> None:
        opening = grant(self.shell.did, self.options.config.initial_mana, "opening")
        store.ledger.transfer(opening.id, opening.cause, opening.entries)

    def _policy(self) -> ExecutorPolicy:
        return ExecutorPolicy(
            capability=lambda: self.advert().document.capability,
            health=self.care.health,
            may_take=self.care.why_not_take,
            may_begin=self.care.why_not,
            begins=self.care.begin,
            guest=self.profile.guest,
            prices=prices_of(self.profile.price),
            outlook=self.care.outlook,
            disk_mb=self.options.config.storage_mb,
            bid_policy=self.options.config.bid_policy,
            offline_ms=self.options.config.offline_hours * HOUR_MS,
            workers=self.pool.config.workers,
            advert=lambda: self.advert().cid,
            ran=self.fuel.ran,
        )

    async def _propose_known(self) -> None:
        now_ms, own = self.clock.now_ms(), self.shell.peers
        own.propose(self.options.config.peers, Found.STATIC, now_ms)
        for record in await self.shell.storage.run(lambda store: store.peers.all()):
            own.propose(record.endpoints, record.found, now_ms)

    async def _discover(self, stack: AsyncExitStack) -> None:
        self.neighbourhood = Neighbourhood(self.shell, self.endpoint, self.options.config)
        await self.neighbourhood.start()
        stack.push_async_callback(self.neighbourhood.close)
        self.shell.tasks.spawn(self.neighbourhood.watch(), "neighbourhood")
        self.shell.tasks.spawn(Directories(self.shell, self.endpoint, self.options.config).watch(), "directories")

    # -- work

    async def _tick(self) -> None:
        """Let time act, then wait for something to happen."""
        for act in (self._drive, self._greet_due, self._tell, self._store_refusals):
            try:
                await act()
            except IcnLiteError as error:
                log.error("%s", error)
            except Exception:
                log.exception("the tick failed in %s", act.__name__)
        was_busy, self._busy = self._busy, self._works()
        if was_busy and not self._busy:
            self.options.at_rest()
        await self.shell.changed.wait(self._until_next_s())

    async def _drive(self) -> None:
        if self.originations is not None:
            await self.originations.tick()
        if self.executions is not None:
            await self.executions.tick()

    async def _greet_due(self) -> None:
        for candidate in self.shell.peers.due(self.clock.now_ms(), GREETINGS_AT_ONCE):
            self.shell.tasks.spawn(self._greet(candidate), f"greeting {candidate.uri}")

    async def _tell(self) -> None:
        if self.carriage is not None:
            self.carriage.tick(self.advert_block)

    def _works(self) -> bool:
        """Whether any lease or job is open."""
        leases = self.executions is not None and bool(self.executions.leases)
        return leases or (self.originations is not None and self.originations.busy)

    def _until_next_s(self) -> float:
        """How long nothing falls due, unless something happens."""
        if self._busy:
            return BUSY_TICK_S
        next_ms = self.shell.peers.next_ms()
        if next_ms is None:
            return IDLE_TICK_S
        return min(IDLE_TICK_S, max(0, next_ms - self.clock.now_ms()) / 1000)

    async def _greet(self, candidate: Proposed) -> None:
        begun_ms, missed = self.clock.now_ms(), candidate.silent > 1
        try:
            sealed = await self.shell.courier.advertise(candidate.uri, deadline_ms=GREETING_MS)
        except PeerError as error:
            log.debug("no peer at %s: %s", candidate.uri, error)
            return
        now_ms = self.clock.now_ms()
        first = self.shell.peers.greeted(candidate.uri, sealed, now_ms, now_ms - begun_ms)
        if self.belonging is not None:
            await self.belonging.met(candidate.uri, sealed.signer, anew=first or missed)
        if self.carriage is not None:
            await self.carriage.met(candidate.uri, sealed.signer, anew=first or missed)
        if self.syncing is not None:
            await self.syncing.met(candidate.uri, sealed.signer, anew=first or missed)
        if first:
            log.info("peer %s at %s (%s)", sealed.signer.short, candidate.uri, candidate.found.value)
            endpoints = self.shell.peers.endpoints(sealed.signer)
            record = PeerRecord(sealed.signer, endpoints[:4], candidate.found, sealed.block)
            await self.shell.storage.run(lambda store: store.peers.remember(record))
            if self.originations is not None:
                await self.originations.peer_found(sealed.signer)
            self.shell.changed.ring()

    # -- what we say of ourselves

    def advert(self) -> Sealed[CapabilityAdvertisementV1]:
        """Our advertisement as of now, signed anew when something changed."""
        described = capability.describe(
            self.profile, self.options.config, self.care.allowance, self.care.readings, self.fuel
        )
        known = self._advert.document if self._advert else None
        if known is None or known.capability != described or known.endpoints != self.shell.endpoints:
            self._advert_seq = max(self._advert_seq + 1, self.clock.wall_s() * 1000)
            message = CapabilityAdvertisementV1(
                self.shell.did, described, self.shell.endpoints, self._advert_seq, version=__version__
            )
            self._advert = document.seal(message, self.shell.signer)
        assert self._advert is not None
        return self._advert

    def advert_block(self) -> bytes:
        """The signed block of it."""
        return self.advert().block

    async def status(self) -> dict[str, Json]:
        """What `icn-lite status` shows."""
        config, allowance = self.options.config, self.care.allowance
        receipts, jobs, mana = await self.shell.storage.run(
            lambda store: (
                store.receipts.count(),
                store.jobs.count(),
                store.ledger.balance(account_of(self.shell.did)),
            )
        )
        refused = await self.shell.storage.run(lambda store: dict(store.counters.all()))
        return {
            "did": str(self.shell.did),
            "version": __version__,
            "pid": os.getpid(),
            "home": str(self.options.home.path),
            "port": self.endpoint.port,
            "endpoints": list(self.shell.endpoints),
            "profile": self.profile.name,
            "profile_reason": self.profile_reason,
            "roles": [role.value for role in config.roles],
            "engine": config.engine.value,
            "workers": self.pool.config.workers,
            "fuel_per_s": self.fuel.fuel_per_s,
            "calibrated_at": self.calibration.measured_at if self.calibration else None,
            "allowance": allowance.level.value,
            "duty_pm": allowance.duty_pm,
            "reasons": list(allowance.reasons),
            "device": care_view(self.profile, self.care, clock_ms()),
            "open": config.open,
            "offline": config.offline,
            "cooperatives": list[Json](views.cooperatives_view(self.memberships)),
            "sessions": self.endpoint.sessions,
            "mdns": self.neighbourhood.available if self.neighbourhood else False,
            "mdns_why": self.neighbourhood.why if self.neighbourhood else "switched off",
            "peers": len(self.shell.peers.live(self.clock.now_ms())),
            "relayed": len(self.carriage.reached()) if self.carriage else 0,
            "jobs": jobs,
            "leases": len(self.executions.leases) if self.executions else 0,
            "open_shards": self.executions.open_shards if self.executions else 0,
            "declined": views.declined_view(self),
            "receipts": receipts,
            "mana": mana,
            "refused": {
                name.removeprefix(COUNTER_PREFIX): count
                for name, count in refused.items()
                if name.startswith(COUNTER_PREFIX)
            },
        }

    def _refused(self, kind: str) -> None:
        self._refusals[kind] = self._refusals.get(kind, 0) + 1

    async def _store_refusals(self) -> None:
        counted, self._refusals = self._refusals, {}
        if counted:

            def add(store: Store) -> None:
                for kind, count in counted.items():
                    store.counters.add(COUNTER_PREFIX + kind, count)

            await self.shell.storage.run(add)


def profile_of(config: Config) -> tuple[Profile, str]:
    """The profile that the configuration names, or the one that fits this device, and why."""
    if config.profile == "auto":
        return detect()
    return load_profile(config.profile), "named in the configuration"
