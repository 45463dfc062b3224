"""Who may call whom, in which order to look at functions, and which of them recurse.

Nodes are the defined functions and one more for every type that a `call_indirect` uses, which stands between its
callers and all table entries of that type: so the graph stays linear in the module's size. Components are found by
Tarjan's algorithm with a stack of its own, callees first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from icn_lite.wasm.body import FunctionCode
from icn_lite.wasm.module import Module
from icn_lite.wasm.types import FuncType


@dataclass(slots=True)
class CallGraph:
    """Nodes: function indices, and negative numbers for types of indirect calls."""

    edges: dict[int, list[int]]
    components: list[list[int]]  # callees before callers
    recursive: set[int]
    type_nodes: dict[FuncType, int]
    in_table: frozenset[int]


def build(module: Module, code: Sequence[FunctionCode]) -> CallGraph:
    """The call graph of a module."""
    in_table = frozenset(f for element in module.elements for f in element.functions if f is not None)
    type_nodes: dict[FuncType, int] = {}
    edges: dict[int, list[int]] = {}
    for function in code:
        called: dict[int, None] = {}
        for i in function.calls:
            callee = function.events.callee(i)
            if callee < 0:
                callee = type_nodes.setdefault(module.types[-1 - callee], -1 - len(type_nodes))
            called[callee] = None
        edges[function.index] = list(called)
    for node in type_nodes.values():
        edges[node] = []
    for index in sorted(in_table):
        found = type_nodes.get(module.type_of(index))
        if found is not None:
            edges[found].append(index)
    for index in range(len(module.imports)):
        edges[index] = []
    components = _components(edges)
    recursive = {node for group in components if len(group) > 1 for node in group}
    recursive.update(node for node, called in edges.items() if node in called)
    return CallGraph(edges, components, recursive, type_nodes, in_table)


def _components(edges: dict[int, list[int]]) -> list[list[int]]:
    """Strongly connected components in reverse topological order (Tarjan 1972), without recursion."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    open_nodes: list[int] = []
    is_open: set[int] = set()
    result: list[list[int]] = []
    for root in edges:
        if root in order:
            continue
        work = [(root, 0)]
        while work:
            node, step = work.pop()
            if step == 0:
                order[node] = low[node] = len(order)
                open_nodes.append(node)
                is_open.add(node)
            else:
                low[node] = min(low[node], low[edges[node][step - 1]])
            descended = False
            for i in range(step, len(edges[node])):
                successor = edges[node][i]
                if successor not in order:
                    work.append((node, i + 1))
                    work.append((successor, 0))
                    descended = True
                    break
                if successor in is_open:
                    low[node] = min(low[node], order[successor])
            if descended:
                continue
            if low[node] == order[node]:
                group: list[int] = []
                while True:
                    member = open_nodes.pop()
                    is_open.discard(member)
                    group.append(member)
                    if member == node:
                        break
                result.append(group)
    return result
