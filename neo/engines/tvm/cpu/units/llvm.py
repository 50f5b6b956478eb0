"""A target as LLVM names it."""

from __future__ import annotations

import difflib

import tvm

from neo.contract.device import Target
from neo.engines.tvm.tvm_private import llvm_processors
from neo.errors import TargetError


def llvm_target(target: Target) -> tvm.target.Target:
    options = {"kind": "llvm", "mtriple": target.cpu.triple, "mcpu": target.cpu.mcpu, "num-cores": target.cpu.cores}
    if target.cpu.attrs:
        options["mattr"] = list(target.cpu.attrs)
    return tvm.target.Target(options)


def check_processor(target: Target, llvm: tvm.target.Target) -> None:
    """Raises TargetError if LLVM does not know the processor. LLVM itself would only warn on stderr and compile for a
    generic one.
    """
    cpus = llvm_processors(llvm)
    if target.cpu.mcpu not in cpus:
        close = difflib.get_close_matches(target.cpu.mcpu, cpus, 3)
        raise TargetError(
            f"target {target.name}: LLVM knows no {target.cpu.arch} processor {target.cpu.mcpu!r}",
            hint=f"did you mean {' or '.join(close)}?" if close else "see `neo targets` for examples",
        )
