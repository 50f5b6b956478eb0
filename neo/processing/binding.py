"""Binds the documents to one model: the new interface, and the shapes between the steps. No ONNX here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from neo.contract.labels import BY_POSITION, BY_VALUE, OutputLabels
from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError, UsageError
from neo.processing.answer.state import Answer
from neo.processing.documents import Postprocess, Preprocess, Processing
from neo.processing.image.state import Image
from neo.processing.text import TextPreprocess

Specs = tuple[TensorSpec, ...]
# role of the model's input that an image is fed to
IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Binding:
    """The documents, bound to the inputs and outputs of one model."""

    #: of the model with its processing
    inputs: Specs
    #: likewise
    outputs: Specs
    #: the new input, an image or a text; None without pre-processing
    raw: TensorSpec | None
    #: role -> the model's input that gets the result of the pre-processing; an image has the one role IMAGE
    fed: dict[str, TensorSpec]
    #: before the first step, and after each
    images: tuple[Image, ...]
    #: the model's outputs that the post-processing reads
    taken: Specs
    #: before the first step, and after each
    answers: tuple[tuple[Answer, ...], ...]
    labels: tuple[OutputLabels, ...]

    @property
    def new_names(self) -> tuple[str, ...]:
        """Names of the inputs and outputs that the processing adds."""
        made = self.answers[-1] if self.answers else ()
        return (*(() if self.raw is None else (self.raw.name,)), *(answer.spec.name for answer in made))


def bind(processing: Processing, inputs: Specs, outputs: Specs) -> Binding:
    """Raises InputSpecError if the documents do not fit the model's inputs and outputs, UsageError if a step does not
    fit the one before it.
    """
    new_inputs, new_outputs = inputs, outputs
    raw: TensorSpec | None = None
    fed: dict[str, TensorSpec] = {}
    images: tuple[Image, ...] = ()
    if isinstance(processing.preprocess, TextPreprocess):
        fed = processing.preprocess.fed(inputs)
        raw = processing.preprocess.raw()
    elif processing.preprocess is not None:
        picture = _fed(processing.preprocess, inputs)
        fed = {IMAGE: picture}
        images = _images(processing.preprocess, picture)
        raw = TensorSpec(processing.preprocess.name, images[0].dtype, images[0].shape)
    if raw is not None:
        new_inputs = _replaced(inputs, tuple(fed.values()), (raw,))
    taken: Specs = ()
    answers: tuple[tuple[Answer, ...], ...] = ()
    labels: tuple[OutputLabels, ...] = ()
    if processing.postprocess is not None:
        taken = _taken(processing.postprocess, outputs)
        answers = _answers(processing.postprocess, taken)
        new_outputs = _replaced(outputs, taken, tuple(answer.spec for answer in answers[-1]))
        labels = _labels(processing.postprocess, answers[-1])
    binding = Binding(new_inputs, new_outputs, raw, fed, images, taken, answers, labels)
    _refuse_taken_names(binding, inputs, outputs)
    return binding


def _fed(preprocess: Preprocess, inputs: Specs) -> TensorSpec:
    found = [spec for spec in inputs if preprocess.input in (None, spec.name)]
    if len(found) != 1:
        wrong = f"has no input {preprocess.input!r}" if preprocess.input else "has several inputs"
        raise InputSpecError(
            f"--preprocess: the model {wrong}; it has {'  '.join(map(str, inputs))}",
            hint=f"write input = {inputs[0].name!r}, or another one, at the top of the document",
        )
    if not found[0].shape:
        raise InputSpecError(f"--preprocess: {found[0]} has no batch dimension, as a model for images has")
    return found[0]


def _images(preprocess: Preprocess, fed: TensorSpec) -> tuple[Image, ...]:
    images = [Image(fed.shape[0], preprocess.height, preprocess.width, preprocess.colours)]
    for number, step in enumerate(preprocess.steps, 1):
        with _at(f"--preprocess, step {number}"):
            images.append(step.after(images[-1]))
    last = images[-1]
    if last.shape != fed.shape or last.dtype != fed.dtype:
        got = TensorSpec(fed.name, last.dtype, last.shape)
        raise InputSpecError(f"the steps of --preprocess end in {got}; the model wants {fed}", hint=_missing(last, fed))
    return tuple(images)


def _missing(last: Image, fed: TensorSpec) -> str:
    n, *rest = last.shape
    other_layout = (n, *rest[-1:], *rest[:-1]) if last.layout == "NHWC" else (n, *rest[1:], *rest[:1])
    if other_layout == fed.shape:
        return f"add a step: do = 'layout', to = {'NCHW' if last.layout == 'NHWC' else 'NHWC'!r}"
    if last.shape == fed.shape:
        return f"add a step: do = 'cast', dtype = {fed.dtype!r}"
    return "let resize, crop, channels and layout lead to that shape"


def _taken(postprocess: Postprocess, outputs: Specs) -> Specs:
    by_name = {spec.name: spec for spec in outputs}
    wanted = postprocess.outputs or ((outputs[0].name,) if len(outputs) == 1 else ())
    missing = [name for name in wanted if name not in by_name]
    if missing or not wanted or len(set(wanted)) != len(wanted):
        wrong = f"has no output {missing[0]!r}" if missing else "has several outputs"
        raise InputSpecError(
            f"--postprocess: the model {wrong}; it has {'  '.join(map(str, outputs))}",
            hint=f"write output = {outputs[0].name!r}, or another one, at the top of the document",
        )
    return tuple(by_name[name] for name in wanted)


def _answers(postprocess: Postprocess, taken: Specs) -> tuple[tuple[Answer, ...], ...]:
    answers = [tuple(_first_answer(spec) for spec in taken)]
    for number, step in enumerate(postprocess.steps, 1):
        with _at(f"--postprocess, step {number}"):
            answers.append(step.after(answers[-1]))
    return tuple(answers)


def _first_answer(spec: TensorSpec) -> Answer:
    if spec.dtype.startswith("float") and spec.shape and isinstance(spec.shape[-1], int):
        return Answer(spec, BY_POSITION, spec.shape[-1])
    return Answer(spec, BY_VALUE if "int" in spec.dtype else None)


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Puts ``where`` in front of the messages of errors inside."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from error


def _labels(postprocess: Postprocess, answers: tuple[Answer, ...]) -> tuple[OutputLabels, ...]:
    if not postprocess.labels:
        return ()
    labelled = [answer for answer in answers if answer.labelled_by is not None]
    if not labelled:
        raise UsageError(
            "--postprocess: no output is left that labels belong to",
            hint="leave labels out, or end with topk or argmax",
        )
    for answer in labelled:
        if answer.classes not in (None, len(postprocess.labels)):
            raise UsageError(
                f"--postprocess: there are {len(postprocess.labels)} labels; {answer.spec.name!r} has {answer.classes}"
                " classes",
                hint="give one label for each class, in the order of the model's scores",
            )
    return tuple(OutputLabels(a.spec.name, str(a.labelled_by), postprocess.labels) for a in labelled)


def _replaced(specs: Specs, gone: Specs, new: Specs) -> Specs:
    """The new specs take the position of the first one that they replace."""
    place = min(specs.index(spec) for spec in gone)
    return (
        *(spec for spec in specs[:place] if spec not in gone),
        *new,
        *(spec for spec in specs[place:] if spec not in gone),
    )


def _refuse_taken_names(binding: Binding, inputs: Specs, outputs: Specs) -> None:
    """Names in an ONNX model are unique: new ones must differ from those that stay."""
    staying = {spec.name for spec in (*inputs, *outputs)} - {spec.name for spec in binding.taken}
    staying -= {spec.name for spec in binding.fed.values()}
    names = [spec.name for spec in (*binding.inputs, *binding.outputs)]
    for name in binding.new_names:
        if name in staying or names.count(name) > 1:
            raise UsageError(
                f"the compiled model would have two inputs or outputs called {name!r}",
                hint="give the new one another name in the document",
            )
