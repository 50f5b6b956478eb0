"""Which tensors of a graph have their channels last: the choice with the fewest bytes to rearrange.

Convolutions have channels last. Inputs, outputs and operators without a rule have the model's order. Operators with a
rule can have either. A minimum cut decides for each of them, and so where tensors are rearranged. NeoCPU (Liu et al.,
USENIX ATC 2019) searches for layouts of a whole graph too, among blocks of channels.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tvm import relax, tirx

from neo.engines.tvm.ir.expressions import bytes_of, name_of, shape_of
from neo.engines.tvm.ir.indices import axes_of
from neo.engines.tvm.ir.operators import CONVOLUTIONS
from neo.engines.tvm.layout.cut import FIRST, LAST, Border
from neo.engines.tvm.layout.operators import POOLINGS, SEEDS, Rule, rule_of
from neo.engines.tvm.layout.view import View

PERMUTATION = "permute_dims"
# a convolution reads an image with so few channels element by element in either layout
FEW_CHANNELS = 4
SOFTMAXES = frozenset(["nn.softmax", "nn.log_softmax"])
FEW_COLUMNS = 16
# costs. LEAST: channels last are preferred where both layouts cost the same. BYTE: of rearranging one byte. SLOW: of an
# operator that a layout keeps from vectorising, as a pooling with channels first, in copies of its result
LEAST, BYTE, SLOW = 1, 64, 8


@dataclass(frozen=True, slots=True)
class Layouts:
    """What the minimum cut decides."""

    #: values that are kept with channels last
    last: frozenset[relax.Var]
    #: permutations that read their input with channels last
    turned: frozenset[relax.Var]
    #: tensor that could have channels last -> where its dimensions are then
    views: dict[relax.Var, View]
    #: result of an operator that works in either layout -> the operator's rule
    rules: dict[relax.Var, Rule]


def search(function: relax.Function, *, copies_images: bool) -> Layouts:
    """function: as imported, normalised. copies_images: as for ``choose_layouts``."""
    return _Search(function, copies_images=copies_images).run()


def reads_few_channels(call: relax.Call) -> bool:
    """Is it a convolution that may as well read channels first?"""
    return name_of(call) == "nn.conv2d" and int(call.args[0].ty.shape[1]) <= FEW_CHANNELS


class _Search:
    def __init__(self, function: relax.Function, *, copies_images: bool) -> None:
        self._values = {binding.var: binding.value for block in function.body.blocks for binding in block.bindings}
        self._result = function.body.body
        self._copies_images = copies_images
        self._views: dict[relax.Var, View] = {}
        self._readers: dict[relax.Var, list[Hashable]] = {}

    def run(self) -> Layouts:
        while self._propagate():
            pass
        found = ((var, self._rule(var, value)) for var, value in self._values.items())
        rules = {var: rule for var, rule in found if rule is not None}
        border = Border()
        owners = {var: self._owner(var, rules, border) for var in self._values}
        self._read([self._result], FIRST)
        for var, readers in self._readers.items():
            if var in self._views:
                border.pass_on(var, owners.get(var, FIRST), self._moved(var), readers)
        side = border.cheapest()
        last = frozenset(var for var, owner in owners.items() if owner in side)
        return Layouts(last, frozenset(v for v in self._values if ("turned", v) in side), self._views, rules)

    def _owner(self, var: relax.Var, rules: dict[relax.Var, Rule], border: Border) -> Any:
        """Adds the value's reads and costs to the graph; -> the node that decides the value's layout."""
        value: Any = self._values[var]
        if name_of(value) in CONVOLUTIONS:
            if self._copies_images or not reads_few_channels(value):
                self._read(value.args[:1], LAST)
            self._read(value.args[1:], FIRST)
            return LAST
        if var in rules:
            border.prefer(var, LAST, LEAST + (SLOW * self._cost(var) if name_of(value) in POOLINGS else 0))
            if self._is_narrow(var, value):
                border.prefer(var, FIRST, SLOW * self._cost(var))
            tensors = rules[var].tensors
            self._read(value.args[:tensors], var)
            self._read([] if tensors is None else value.args[tensors:], FIRST)
            return var
        if isinstance(value, relax.TupleGetItem) and value.tuple_value in rules:
            return value.tuple_value
        if name_of(value) == PERMUTATION:
            return self._owner_of_permutation(var, value, border)
        if not isinstance(value, relax.Tuple):
            self._read([value], FIRST)
        return FIRST

    def _owner_of_permutation(self, var: relax.Var, value: relax.Call, border: Border) -> Any:
        """A permutation of more than channels can read its input, or else write its result, with channels last. That
        costs nothing: it only becomes another permutation, or none at all, which is preferred.
        """
        axes = tuple(axes_of(value))
        view, after = self._views.get(value.args[0]), self._views.get(var)
        if view is not None and not view.is_plain and (axes == view.order or after is None or axes != after.back):
            reader = ("turned", var)
            self._read(value.args, reader)
            border.prefer(reader, LAST, LEAST + (self._cost(var) if axes == view.order else 0))
            return FIRST
        self._read(value.args, FIRST)
        if after is None:
            return FIRST
        border.prefer(var, LAST, LEAST + (self._cost(var) if axes == after.back else 0))
        return var

    def _propagate(self) -> bool:
        """Spread views from operators on images to their neighbours, forwards and backwards. -> were there new ones?"""
        known = len(self._views)
        for var, value in [*self._values.items(), *reversed(self._values.items())]:
            if name_of(value) in SEEDS:
                self._know(value.args[0], View(len(value.args[0].ty.shape), len(value.args[0].ty.shape) - 2))
            if name_of(value) in CONVOLUTIONS:
                self._know(var, self._views.get(value.args[0]))
            if isinstance(value, relax.TupleGetItem):
                self._know(var, self._views.get(value.tuple_value))
                self._know(value.tuple_value, self._views.get(var))
            rule = rule_of(value) if isinstance(value, relax.Call) and _is_fixed(var) else None
            if rule is None:
                continue
            tensors = list(self._leaves(value.args[: rule.tensors]))
            if not all(_is_fixed(tensor) for tensor in tensors):
                continue
            view = next((self._views[tensor] for tensor in tensors if tensor in self._views), None)
            if view is not None:
                self._know(var, rule.after(value, view))
            elif var in self._views:
                view = rule.before(value, self._views[var])
            for tensor in tensors:
                self._know(tensor, view)
        return len(self._views) > known

    def _know(self, var: Any, view: View | None) -> None:
        if isinstance(var, relax.Var) and view is not None and _is_fixed(var) and view.rank == _rank(var):
            self._views.setdefault(var, view)

    def _rule(self, var: relax.Var, value: Any) -> Rule | None:
        """None if the operator has no rule, or the views of its tensors do not agree."""
        rule, after = rule_of(value) if isinstance(value, relax.Call) else None, self._views.get(var)
        if rule is None or after is None:
            return None
        tensors = list(self._leaves(value.args[: rule.tensors]))
        views = {self._views.get(tensor) for tensor in tensors}
        (view,) = views if len(views) == 1 else (None,)
        return rule if view is not None and rule.after(value, view) == after else None

    def _read(self, values: Iterable[Any], reader: Hashable) -> None:
        for var in self._leaves(values):
            self._readers.setdefault(var, []).append(reader)

    def _leaves(self, values: Iterable[Any]) -> Iterator[relax.Var]:
        """The tensors that the values consist of: fields of tuples, arguments of nested calls."""
        for value in values:
            bound = self._values.get(value) if isinstance(value, relax.Var) else value
            if isinstance(bound, relax.Tuple):
                yield from self._leaves(bound.fields)
            elif isinstance(value, relax.Var):
                yield value
            elif isinstance(value, relax.Call):
                yield from self._leaves(value.args)
            elif isinstance(value, relax.TupleGetItem):
                yield from self._leaves([value.tuple_value])

    def _is_narrow(self, var: relax.Var, value: relax.Call) -> bool:
        """Is it a softmax that, with channels last, runs neither along rows nor over enough columns to vectorise?"""
        if name_of(value) not in SOFTMAXES:
            return False
        view, shape = self._views[var], shape_of(var)
        behind = [shape[axis] for axis in view.order[view.axis(int(value.attrs.axis)) + 1 :]]
        return 1 < math.prod(behind) < FEW_COLUMNS

    def _cost(self, var: relax.Var) -> int:
        return bytes_of(var) * BYTE

    def _moved(self, var: relax.Var) -> int | None:
        """Cost of rearranging the tensor; None for a tuple, whose fields are rearranged instead."""
        if isinstance(var.ty, relax.TupleType):
            return None
        return self._cost(var) if self._views[var].moves(shape_of(var)) else LEAST


def _fields(var: Any) -> list[Any]:
    return list(var.ty.fields) if isinstance(var.ty, relax.TupleType) else [var.ty]


def _is_fixed(var: Any) -> bool:
    """Is it a tensor, or a tuple of tensors, with a fixed shape?"""
    return all(
        isinstance(field, relax.TensorType)
        and isinstance(field.shape, relax.ShapeExpr)
        and all(isinstance(size, tirx.IntImm) for size in field.shape)
        for field in _fields(var)
    )


def _rank(var: Any) -> int:
    return len(_fields(var)[0].shape)
