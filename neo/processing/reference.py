"""The whole pipeline without ONNX: numpy, the model in its source framework, numpy; and inputs for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.strings import numpy_dtype
from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError
from neo.processing.binding import IMAGE, Binding
from neo.processing.documents import Processing
from neo.processing.text import TextPreprocess

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Arrays], Arrays]

# relative perturbations of the model's outputs under which a golden answer must not change. The largest is tried first;
# engines differ by about 1e-6
_SHAKES = (1e-3, 1e-4, 1e-5)
# a float answer may change by this share of its largest element. Two boxes that change places differ by much more
_GIVES_WAY = 0.05
_TRIES = 8
_NOISE_LEVELS = 12.0


@dataclass(frozen=True, slots=True)
class Reference:
    """The pipeline around one model."""

    processing: Processing
    binding: Binding
    #: the model without processing: inputs by name -> outputs by name
    run: Run

    def answer(self, arrays: Arrays) -> Arrays:
        """Inputs by name -> outputs by name, with processing."""
        return self._finish(self.run(self._prepare(arrays)))

    def draw(self, others: Callable[[np.random.Generator], Arrays], rng: np.random.Generator) -> Arrays:
        """Inputs with a clear answer, which does not change when the model's outputs change a little, as they do
        between engines. others: draws the inputs that are not the image or text.

        Raises InputSpecError if none is found.
        """
        tries = len(_SHAKES) * _TRIES
        for number in range(tries):
            arrays = others(rng)
            if self.binding.raw is not None:
                arrays[self.binding.raw.name] = self._random(self.binding.raw, rng)
            if self._stands(self.run(self._prepare(arrays)), _SHAKES[number // _TRIES], rng):
                return arrays
        raise InputSpecError(
            f"{tries} random inputs gave no clear answer: equal scores, or boxes on the edge of being dropped",
            hint="give one that does, with its answer: --golden sample.npz",
        )

    def _random(self, raw: TensorSpec, rng: np.random.Generator) -> NDArray[Any]:
        preprocess = self.processing.preprocess
        if isinstance(preprocess, TextPreprocess):
            return preprocess.draw(self.binding.fed, rng)
        return random_image(raw, rng)

    def _prepare(self, arrays: Arrays) -> Arrays:
        preprocess, binding = self.processing.preprocess, self.binding
        if preprocess is None or binding.raw is None:
            return arrays
        if isinstance(preprocess, TextPreprocess):
            others = {name: array for name, array in arrays.items() if name != binding.raw.name}
            return {**others, **preprocess.reference(arrays[binding.raw.name], binding.fed)}
        fed, pixels = binding.fed[IMAGE], arrays[binding.raw.name]
        for step, image in zip(preprocess.steps, binding.images, strict=False):
            pixels = step.reference(pixels, image)
        rest = {name: array for name, array in arrays.items() if name != binding.raw.name}
        return {**rest, fed.name: np.ascontiguousarray(pixels, dtype=fed.dtype)}

    def _finish(self, outputs: Arrays) -> Arrays:
        postprocess, binding = self.processing.postprocess, self.binding
        if postprocess is None:
            return outputs
        values = tuple(outputs[spec.name] for spec in binding.taken)
        for step in postprocess.steps:
            values = step.reference(values)
        named = {answer.spec.name: value for answer, value in zip(binding.answers[-1], values, strict=True)}
        all_named = {**outputs, **named}
        return {spec.name: np.asarray(all_named[spec.name], dtype=numpy_dtype(spec.dtype)) for spec in binding.outputs}

    def _stands(self, outputs: Arrays, shake: float, rng: np.random.Generator) -> bool:
        expected = self._finish(outputs)
        return all(_close(expected, self._finish(_shaken(outputs, shake, rng))) for _ in range(3))


def random_image(spec: TensorSpec, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Coloured patches of random size with noise on them; pure noise would become grey when it is resized.

    spec: uint8 (N, height, width, channels); a dynamic N is 1.
    """
    batch, height, width, channels = (dim if isinstance(dim, int) else 1 for dim in spec.shape)
    patches = int(rng.choice([2, 3, 5, 9, 17]))
    colours = rng.uniform(0, 255, (batch, patches, patches, channels))
    rows, columns = np.arange(height) * patches // height, np.arange(width) * patches // width
    picture = colours[:, rows][:, :, columns] + rng.normal(0, _NOISE_LEVELS, (batch, height, width, channels))
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _shaken(outputs: Mapping[str, NDArray[Any]], shake: float, rng: np.random.Generator) -> Arrays:
    """Outputs with random noise: for each number a share of itself, plus a hundredth of that share of the largest."""
    shaken = dict(outputs)
    for name, array in outputs.items():
        if array.dtype.kind == "f" and array.size:
            reach = np.abs(array) + 0.01 * np.abs(array).max()
            shaken[name] = (array + rng.uniform(-shake, shake, array.shape) * reach).astype(array.dtype)
    return shaken


def _close(expected: Arrays, moved: Arrays) -> bool:
    for name, want in expected.items():
        if want.dtype.kind != "f":
            if not np.array_equal(want, moved[name]):
                return False
        elif want.size and np.abs(moved[name] - want).max() > _GIVES_WAY * max(float(np.abs(want).max()), 1e-30):
            return False
    return True
