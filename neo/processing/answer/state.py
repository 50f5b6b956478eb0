"""What is known about the model's answers between two steps, and what a step is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from neo.contract.tensors import Dim, TensorSpec
from neo.errors import UsageError

if TYPE_CHECKING:
    from neo.processing.graph import Graph

Arrays = tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """spec: its name, dtype and shape. labelled_by: how labels would apply, as in ``contract.labels``; None if they
    would not. classes: how many labels that takes, None if unknown.
    """

    spec: TensorSpec
    labelled_by: str | None = None
    classes: int | None = None


class AnswerStep(Protocol):
    """after: what the step makes of the answers; raises UsageError if it cannot take them.

    emit: adds the nodes and returns the values behind them. reference: the same in numpy, float64 inside.
    """

    def after(self, answers: tuple[Answer, ...]) -> tuple[Answer, ...]: ...

    def emit(self, graph: Graph, values: tuple[str, ...], answers: tuple[Answer, ...]) -> tuple[str, ...]: ...

    def reference(self, arrays: Arrays) -> Arrays: ...


def only(answers: tuple[Answer, ...], step: str) -> TensorSpec:
    """The one answer that the step works on."""
    if len(answers) != 1:
        raise UsageError(
            f"{step} works on one output; there it would get {', '.join(answer.spec.name for answer in answers)}",
            hint="choose one with output = 'NAME' at the top, and let nothing follow a step with several results",
        )
    spec = answers[0].spec
    if not spec.dtype.startswith("float") or not spec.shape:
        raise UsageError(f"{step} works on float scores; there it would get {spec}")
    return spec


def known(dim: Dim, what: str) -> int:
    if isinstance(dim, int):
        return dim
    raise UsageError(f"{what} is the dynamic dimension {dim!r}", hint=f"fix it with --dim {dim}=SIZE")
