"""The order of a model's kernels, as instructions of TVM's virtual machine and, of small models, as machine code too.

Every instruction is interpreted in a few dozen nanoseconds. A small model computes for a few microseconds in all, and
is a fifth faster where its ``main`` is compiled: LLVM takes too long over that of a large one, which gains nothing.
What is compiled cannot be watched, so the instructions stay beside it, for profiles.
"""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax import vm_build

from neo.runtime.tvm import FUNCTION, WATCHED

# operators, each with the instructions for its memory
MOST_CALLS = 48


def compile_model(module: tvm.IRModule, llvm: tvm.target.Target, pipeline: str) -> relax.VMExecutable:
    """module: scheduled. pipeline: the name of what compiles its kernels."""
    if _calls(module[FUNCTION]) > MOST_CALLS:
        return tvm.compile(module, target=llvm, tir_pipeline=pipeline)
    functions = dict(module.functions)
    functions[tvm.ir.GlobalVar(WATCHED)] = module[FUNCTION].with_attr("global_symbol", WATCHED)
    with llvm:
        module = relax.get_pipeline("default")(tvm.IRModule(functions, attrs=module.attrs))
    # tvm 0.27 makes either of a whole module; this is its ``build``, once for each
    builder = relax.ExecBuilder()
    kernels = vm_build._vmcodegen(builder, _without(module, FUNCTION), "bytecode")  # noqa: SLF001
    kernels.update(vm_build._vmcodegen(builder, _without(module, WATCHED), "compiled"))  # noqa: SLF001
    constants = dict((module.attrs or {}).get("const_name_to_constant", {}))
    return vm_build._vmlink(builder, llvm, vm_build._filter_tir(kernels), pipeline, params=constants)  # noqa: SLF001


def _calls(function: relax.Function) -> int:
    return sum(isinstance(binding.value, relax.Call) for block in function.body.blocks for binding in block.bindings)


def _without(module: tvm.IRModule, name: str) -> tvm.IRModule:
    kept = {variable: function for variable, function in module.functions.items() if variable.name_hint != name}
    return tvm.IRModule(kept, attrs=module.attrs)
