"""`JobCategory` of `mesh-job-protocol.md` §2.2: what kind of work a job is, and so how it may be cut into shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.schema import MaxLen, Range
from icn_lite.model.units import DurationMs, Name, Sentence, SharePpm, Uri

Count: TypeAlias = Annotated[int, Range(0, 1 << 40)]


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """A range of frames, both ends included."""

    first: Count
    last: Count


@dataclass(frozen=True, slots=True)
class Rendering:
    """Frames rendered independently."""

    TAG: ClassVar[str] = "Rendering"
    frames: tuple[FrameSpec, ...]
    format: Name
    quality: Name


@dataclass(frozen=True, slots=True)
class MachineLearning:
    """Training or inference."""

    TAG: ClassVar[str] = "MachineLearning"
    task: Name
    model: Cid
    dataset: Cid
    metrics: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class Scientific:
    """A simulation over parameters and seeds."""

    TAG: ClassVar[str] = "Scientific"
    simulation: Name
    parameters: Cid
    iterations: Count


@dataclass(frozen=True, slots=True)
class DataProcessing:
    """A transformation of records or bytes."""

    TAG: ClassVar[str] = "DataProcessing"
    input_format: Name
    output_format: Name
    transformation: Name


@dataclass(frozen=True, slots=True)
class MapReduce:
    """Mapper and reducer modules, and the number of partitions between them."""

    TAG: ClassVar[str] = "MapReduce"
    mapper: Cid
    reducer: Cid
    partitions: Annotated[int, Range(1, 100_000)]


@dataclass(frozen=True, slots=True)
class WebScraping:
    """Declined everywhere: guests have no network."""

    TAG: ClassVar[str] = "WebScraping"
    urls: Annotated[tuple[Uri, ...], MaxLen(256)]
    selectors: tuple[Sentence, ...] = ()
    rate_limit: Annotated[int, Range(0, 1_000_000)] = 0


@dataclass(frozen=True, slots=True)
class Federation:
    """A task among named participants; the threshold is a share in parts per million."""

    TAG: ClassVar[str] = "Federation"
    task: Name
    participants: Annotated[tuple[Did, ...], MaxLen(256)]
    threshold_ppm: SharePpm


@dataclass(frozen=True, slots=True)
class Verification:
    """A proof, or a batch of them, with its public inputs."""

    TAG: ClassVar[str] = "Verification"
    proof: Cid
    public_inputs: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Microtask:
    """A few small operations with a time bound."""

    TAG: ClassVar[str] = "Microtask"
    operations: tuple[Name, ...]
    max_duration_ms: DurationMs


JobCategory: TypeAlias = (
    Rendering
    | MachineLearning
    | Scientific
    | DataProcessing
    | MapReduce
    | WebScraping
    | Federation
    | Verification
    | Microtask
)
