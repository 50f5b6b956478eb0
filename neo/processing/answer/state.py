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
    """One tensor between two steps of post-processing."""

    #: its name, dtype and shape
    spec: TensorSpec
    #: how labels apply to it, as in ``contract.labels``; None: they do not
    labelled_by: str | None = None
    #: number of labels; None: unknown
    classes: int | None = None


class AnswerStep(Protocol):
    """A step of post-processing.

    after: the answers after the step; raises UsageError if it cannot take those before it. emit: adds the nodes and
    returns their results. reference: the same in numpy, computed in float64.
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
