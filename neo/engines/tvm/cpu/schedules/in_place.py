"""Results are written directly into the larger tensor that they become a part of, instead of being copied there.

This holds for the parts of a concatenation and for an image that is padded for a convolution. The function that
computes the part gets a twin that writes into the whole tensor; if the part has other readers, the twin writes both.
The rest of the whole, padding or parts that are computed by functions without a twin, is written by one more function.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import tvm
from tvm import relax

from neo.contract.device import Target
from neo.engines.tvm.cpu.schedules import schedule_module
from neo.engines.tvm.cpu.schedules.subviews import Frame, NotRedirected, Slice, Subview, copy, redirected, zeros
from neo.engines.tvm.ir.expressions import bytes_of, name_of, shape_of
from neo.engines.tvm.ir.patterns import CONCATENATION, FRAME

# each part that is still copied costs a call, while a concatenation is one call for all of them
MOST_COPIES = 1
# an image is written twice, as it is and padded, if it is no larger than L2 divided by this
MOST_TWICE = 2


@dataclass(frozen=True, slots=True)
class WrittenInPlace:
    """The result of ``write_in_place``."""

    module: tvm.IRModule
    #: name of a twin -> name of the original function
    twins: Mapping[str, str] = field(default_factory=dict)


def write_in_place(module: tvm.IRModule, target: Target) -> WrittenInPlace:
    """module: scheduled."""
    main = module["main"]
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    calls = {binding.var: binding.value for binding in bindings if name_of(binding.value) == "call_tir"}
    writer = _Writer(module, target, calls)
    for variable, call in calls.items():
        if isinstance(variable, relax.DataflowVar):
            writer.plan(variable, module[call.args[0]].attrs or {})
    return writer.written()


@relax.expr_functor.mutator
class _Writer(relax.PyExprMutator):  # type: ignore[misc]  # tvm has no types
    def __init__(self, module: tvm.IRModule, target: Target, calls: Mapping[relax.Var, relax.Call]) -> None:
        super().__init__(module)
        self._module = module
        self._target = target
        self._calls = calls
        self._readers: dict[relax.Var, int] = {}
        for block in module["main"].body.blocks:
            for variable, users in relax.analysis.udchain(block).items():
                self._readers[variable] = self._readers.get(variable, 0) + len(users)
        # whole -> its parts, and where they are in it
        self._wholes: dict[relax.Var, dict[relax.Var, Subview]] = {}
        # part that is written in place -> its whole
        self._parts: dict[relax.Var, relax.Var] = {}
        # whole -> variable that holds what has been written of it so far
        self._written: dict[relax.Var, relax.Var] = {}
        self._twins: dict[tuple[str, Subview, bool], relax.GlobalVar] = {}

    def plan(self, whole: relax.Var, says: Mapping[str, object]) -> None:
        """says: attributes of the function that writes the whole."""
        subviews = self._subviews(whole, says)
        free = [
            (part, subview) for part, subview in subviews.items() if self._is_free(part) and self._pays(part, subview)
        ]
        own = [part for part, subview in free if self._twin(part, subview) is not None]
        if own and len(subviews) - len(own) <= MOST_COPIES:
            self._wholes[whole] = subviews
            self._parts |= dict.fromkeys(own, whole)

    def _subviews(self, whole: relax.Var, says: Mapping[str, object]) -> dict[relax.Var, Subview]:
        """Part -> where it is in the whole; {} if there are no parts, or one occurs twice."""
        if FRAME not in says and CONCATENATION not in says:
            return {}
        parts, shape = list(self._calls[whole].args[1].fields), shape_of(whole)
        if FRAME in says:
            return {parts[0]: Frame(shape, *(int(number) for number in says[FRAME]))}  # type: ignore[attr-defined]
        axis = int(says[CONCATENATION])  # type: ignore[call-overload]
        ends = itertools.accumulate(shape_of(part)[axis] for part in parts)
        subviews = {part: Slice(shape, axis, end - shape_of(part)[axis]) for part, end in zip(parts, ends, strict=True)}
        return dict(subviews) if len(subviews) == len(parts) else {}

    def _is_free(self, part: relax.Var) -> bool:
        """Is the part computed by a function of its own, and not written into another whole already?"""
        is_call = isinstance(part, relax.DataflowVar) and part in self._calls
        return is_call and part not in self._wholes and part not in self._parts

    def _pays(self, part: relax.Var, subview: Subview) -> bool:
        """Is it faster to write the part in place than to copy it? Not for a large image that is written twice: that
        evicts the function's own data from the cache.
        """
        is_image_twice = isinstance(subview, Frame) and self._is_shared(part)
        return not is_image_twice or bytes_of(part) <= self._target.cpu.l2_kib * 1024 // MOST_TWICE

    def _twin(self, part: relax.Var, subview: Subview) -> relax.GlobalVar | None:
        """The function that computes the part, changed to write into the whole. None if that is not possible."""
        name, twice = self._calls[part].args[0].name_hint, self._is_shared(part)
        if (name, subview, twice) not in self._twins:
            try:
                twin = redirected(self._module[name], subview, twice=twice)
            except NotRedirected:
                return None
            self._twins[name, subview, twice] = self.builder_.add_func(twin, f"{name}_placed")
        return self._twins[name, subview, twice]

    def _is_shared(self, part: relax.Var) -> bool:
        """Does the part have other readers than its whole?"""
        return self._readers[part] > 1

    def written(self) -> WrittenInPlace:
        if not self._wholes:
            return WrittenInPlace(self._module)
        main = self._module.get_global_var("main")
        self.builder_.update_func(main, self.visit_expr(self._module["main"]))
        passes = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination()]
        module = tvm.transform.Sequential(passes)(self.builder_.get())
        left = {variable.name_hint for variable in module.functions}
        names = {twin.name_hint: name for (name, *_), twin in self._twins.items()}
        return WrittenInPlace(module, {twin: name for twin, name in names.items() if twin in left})

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        variable = binding.var
        if variable in self._parts:
            whole = self._parts[variable]
            twin = self._twin(variable, self._wholes[whole][variable])
            arguments = [self.visit_expr(argument) for argument in binding.value.args[1].fields]
            own = [variable.ty] if self._is_shared(variable) else []
            for part in self._write(whole, twin, arguments, *own):
                super().visit_var_binding_(relax.VarBinding(variable, part))
        elif variable in self._wholes:
            for part, subview in self._wholes[variable].items():
                self._write_rest(variable, part, subview)
            super().visit_var_binding_(relax.VarBinding(variable, self._written[variable]))
        else:
            super().visit_var_binding_(binding)

    def _write_rest(self, whole: relax.Var, part: relax.Var, subview: Subview) -> None:
        """Write what no twin writes: padding, or a part that has to be copied."""
        shape, dtype = shape_of(part), str(part.ty.dtype)
        if isinstance(subview, Frame):
            size = shape[1], shape[2]
            self._write(whole, self.builder_.add_func(zeros(subview, size, dtype, self._target), "zeros"), [])
        elif not whole.same_as(self._parts.get(part)):  # a part may have been written into another whole
            copied = schedule_module(tvm.IRModule({"copy": copy(shape, dtype)}), self._target, {}).module["copy"]
            self._write(whole, self.builder_.add_func(redirected(copied, subview), "copy"), [self.visit_expr(part)])

    def _write(
        self, whole: relax.Var, twin: relax.GlobalVar, arguments: list[relax.Expr], *others: relax.Type
    ) -> list[relax.Expr]:
        """Call a twin. others: types of its further results; -> these results."""
        types = [whole.ty, *others]
        so_far = self._written.get(whole)
        if so_far is None:
            call = relax.call_tir(twin, relax.Tuple(arguments), types)
        else:
            inplace_indices = [len(arguments), *(-1 for _ in others)]
            call = relax.op.call_tir_inplace(twin, relax.Tuple([*arguments, so_far]), inplace_indices, types)
        written = self.builder_.emit(call)
        results = [relax.TupleGetItem(written, index) for index in range(len(types))] if others else [written]
        self._written[whole] = self.builder_.emit(results[0])
        return results[1:]
