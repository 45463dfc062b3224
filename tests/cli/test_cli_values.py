"""The decorator of a node's process against the standard one: every class of the program, what its values answer."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import field
from typing import Any

import pytest

from icn_lite.cli import values

STANDARD = dataclasses.dataclass
OPTIONS: list[dict[str, bool]] = [
    {}, {"frozen": True}, {"slots": True}, {"frozen": True, "slots": True}, {"eq": False}, {"repr": False},
    {"frozen": True, "eq": False}, {"order": True}, {"frozen": True, "slots": True, "order": True},
    {"unsafe_hash": True}, {"kw_only": True}, {"frozen": True, "slots": True, "repr": False}, {"init": False},
]  # fmt: skip


def classes(decorate: Callable[..., Any], options: dict[str, bool]) -> list[type[Any]]:
    """The same classes by either decorator."""

    class Empty:
        """Nothing."""

    class One:
        """One field."""

        a: int = 1

    class Many:
        """Some that count and some that don't."""

        a: int = 1
        b: str = field(default="b", repr=False)
        c: tuple[int, ...] = field(default=(), compare=False)
        d: object = None

    class Own:
        """With methods of its own."""

        a: int = 1

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

    class OwnEqual:
        """Equal to all, hashed by nobody."""

        a: int = 1

        def __eq__(self, other: object) -> bool:
            return True

    wrap = decorate(**options)
    own = [] if {"order", "unsafe_hash"} & options.keys() else [wrap(Own), wrap(OwnEqual)]
    return [wrap(Empty), wrap(One), wrap(Many), *own]


def outcome(act: Callable[[], object]) -> object:
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same
        return type(error), str(error).replace("make.<locals>.", "")


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_both_decorators_make_the_same(options: dict[str, bool]) -> None:
    for standard, ours in zip(classes(STANDARD, options), classes(values.dataclass, options), strict=True):
        assert str(standard.__dataclass_params__) == str(ours.__dataclass_params__)
        assert [f.name for f in dataclasses.fields(standard)] == [f.name for f in dataclasses.fields(ours)]
        for made in (standard, ours):
            assert made.__match_args__ == tuple(f.name for f in dataclasses.fields(made) if not f.kw_only)
        # There a frozen class with slots asks about the copy of itself: TypeError for what is no field.
        derives = not {"frozen", "slots"} <= options.keys()
        assert asked(standard, derives=derives) == asked(ours, derives=derives)


def asked(cls: type[Any], *, derives: bool) -> list[object]:
    """What a class's values answer."""
    names = [f.name for f in dataclasses.fields(cls)]

    class Derived(cls):
        """Not decorated."""

    def made(**given: object) -> Any:
        return cls(**{name: value for name, value in given.items() if name in names})

    some = [outcome(lambda given=given: made(**given)) for given in ({}, {"a": 2}, {"b": "x"}, {"c": (1,)}, {"d": []})]
    found: list[object] = [*map(repr, some), repr(outcome(Derived))]
    for one in some:
        found += [outcome(lambda one=one: hash(one) == hash(copy.copy(one)))]
        found += [outcome(lambda one=one, other=other: one == other) for other in some]
        found += [outcome(lambda one=one: one < some[0]), one == 1, one == Derived(), one != one]
        if derives or "a" in names:
            found += [outcome(lambda one=one: setattr(one, "a", 5)), outcome(lambda one=one: delattr(one, "a"))]
            found += [outcome(lambda: setattr(Derived(), "a", 5))]
        if derives:
            found += [outcome(lambda: setattr(Derived(), "new", 5))]
        found += [outcome(lambda one=one: dataclasses.asdict(one)), outcome(lambda one=one: copy.deepcopy(one) == one)]
        found += [outcome(lambda one=one: repr(dataclasses.replace(one)))]
    return [re.sub(" at 0x[0-9a-f]+", "", entry) if isinstance(entry, str) else entry for entry in found]


def test_frozen_values_refuse_what_they_have_not() -> None:
    """The standard one's refusal fails itself where the class has slots (TypeError), or says it as here."""

    @values.dataclass(frozen=True, slots=True)
    class Value:
        """One."""

        a: int = 1

    for act in (lambda: setattr(Value(), "b", 1), lambda: delattr(Value(), "b")):
        with pytest.raises(dataclasses.FrozenInstanceError, match="'b'"):
            act()


def test_a_value_that_holds_itself_can_be_shown() -> None:
    @values.dataclass
    class Loop:
        """Round."""

        inside: list[object] = field(default_factory=list)

    one = Loop()
    one.inside.append(one)
    assert repr(one).endswith("Loop(inside=[...])")


def test_derived_classes_compare_with_their_own_fields() -> None:
    for decorate in (STANDARD, values.dataclass):

        @decorate(frozen=True)
        class Base:
            """One field."""

            a: int

        @decorate(frozen=True)
        class More(Base):
            """Two."""

            b: int

        class Plain(More):
            """Not decorated."""

        assert More(1, 2) != More(1, 3)
        assert More(1, 2) == More(1, 2)
        assert Base(1) != More(1, 2)
        assert Plain(1, 2) != More(1, 2)
        assert Plain(1, 2) == Plain(1, 2)
        assert len({More(1, 2), More(1, 2), More(1, 3)}) == 2


# The whole program under one decorator or the other: every class, how it is shown and hashed, its fields.
PROGRAM = """
import dataclasses, gc, importlib, inspect, json, pkgutil, sys
if sys.argv[1] == "ours":
    from icn_lite.cli import daemon
    daemon._settle()
import icn_lite.cli.service
told = {}
for cls in [c for c in gc.get_objects() if isinstance(c, type) and "__dataclass_params__" in c.__dict__]:
    if str(cls.__module__).startswith("icn_lite.") and cls.__module__ != "icn_lite.cli.daemon":
        params = str(cls.__dataclass_params__)
        names = ("__eq__", "__hash__", "__repr__", "__lt__")
        own = [name for name in names if getattr(cls, name) is not getattr(object, name)]
        none = cls.__hash__ is None
        told[f"{cls.__module__}.{cls.__qualname__}"] = [params, own, none, [f.name for f in dataclasses.fields(cls)]]
copies = {}
for cls in gc.get_objects():
    if isinstance(cls, type) and str(cls.__module__).startswith("icn_lite."):
        name = f"{cls.__module__}.{cls.__qualname__}"
        copies[name] = copies.get(name, 0) + 1
gc.collect()
print(json.dumps([told, sum(count > 1 for count in copies.values())]))
"""


def test_every_class_of_the_program_comes_out_alike() -> None:
    told = {}
    for which in ("standard", "ours"):
        done = subprocess.run([sys.executable, "-c", PROGRAM, which], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        told[which] = json.loads(done.stdout)
    assert len(told["ours"][0]) > 200
    assert told["standard"][0] == told["ours"][0]
    assert told["ours"][1] < told["standard"][1] / 4, "copied classes stay alive"


def test_values_survive_pickling() -> None:
    assert pickle.loads(pickle.dumps(PICKLED)) == PICKLED  # noqa: S301 - our own bytes


@values.dataclass(frozen=True, slots=True)
class Pickled:
    """At the module's level, where pickle finds it."""

    a: int = 1
    b: str = "b"


PICKLED = Pickled(2)
