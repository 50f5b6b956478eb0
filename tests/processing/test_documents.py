"""The TOML documents: what is read, and how what is wrong is said."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError, NeoError, UsageError
from neo.processing.binding import bind
from neo.processing.documents import Postprocess, Preprocess, Processing, read_processing
from neo.processing.tokenizers.wordpiece import SPECIAL

PRE = """
[image]
size = [480, 640]

[[step]]
do = "resize"
shortest = 256

[[step]]
do = "crop"
size = 224

[[step]]
do = "scale"
divide_by = 255

[[step]]
do = "normalise"
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]

[[step]]
do = "layout"
to = "NCHW"
"""
POST = """
labels = "labels.txt"

[[step]]
do = "softmax"

[[step]]
do = "topk"
k = 2
"""
X = TensorSpec("x", "float32", (1, 3, 224, 224))
Y = TensorSpec("y", "float32", (1, 3))


def write(folder: Path, pre: str | None, post: str | None, labels: str = "cat\ndog\nown goal\n\n") -> list[Path | None]:
    (folder / "labels.txt").write_text(labels)
    paths: list[Path | None] = []
    for name, text in (("pre.toml", pre), ("post.toml", post)):
        if text is not None:
            (folder / name).write_text(text)
        paths.append(None if text is None else folder / name)
    return paths


def test_documents_become_the_interface_of_the_whole(tmp_path: Path) -> None:
    processing = read_processing(*write(tmp_path, PRE, POST))
    assert processing is not None
    binding = bind(processing, (X,), (Y,))
    assert list(map(str, binding.inputs)) == ["image=uint8[1,480,640,3]"]
    assert list(map(str, binding.outputs)) == ["index=int64[1,2]", "score=float32[1,2]"]
    (labels,) = binding.labels
    assert (labels.output, labels.by, labels.texts) == ("index", "value", ("cat", "dog", "own goal"))
    again = Processing.from_json(json.loads(json.dumps(processing.to_json())))
    assert bind(again, (X,), (Y,)) == binding


def test_other_inputs_and_outputs_stay_where_they_are(tmp_path: Path) -> None:
    document = 'input = "x"\n' + PRE.replace("size = [480, 640]", 'size = [480, 640]\nname = "photo"', 1)
    processing = read_processing(*write(tmp_path, document, 'output = "y"\n' + POST))
    assert processing is not None
    other, mask = TensorSpec("t", "int64", (1,)), TensorSpec("m", "float32", (1, 7))
    binding = bind(processing, (other, X), (mask, Y, TensorSpec("z", "float32", (1,))))
    assert [spec.name for spec in binding.inputs] == ["t", "photo"]
    assert [spec.name for spec in binding.outputs] == ["m", "index", "score", "z"]


BAD = [
    ("[image", None, "no TOML"),
    ("", None, "image should be a table"),
    ("[image]\nsize = 3.5", None, "size should be a whole number of pixels"),
    ("[image]\nsize = 8\ncolour = 'RGB'", None, "'colour'"),
    ("[image]\nsize = 8\nchannels = 'rgb'", None, "one of 'RGB'"),
    ("[image]\nsize = 8\n[[step]]\ndo = 'normalize'", None, "normalise"),
    ("[image]\nsize = 8\n[[step]]\ndo = 'resize'", None, "either size or shortest"),
    ("[image]\nsize = 8\n[[step]]\ndo = 'resize'\nsize = 4\nfilter = 'lanczos'", None, "'bilinear'"),
    ("[image]\nsize = 8\n[[step]]\ndo = 'resize'\nsize = 4\nfilter = 'bicubic'\nantialias = false", None, "antialias"),
    ("[image]\nsize = 8\n[[step]]\ndo = 'normalise'\nmean = 0\nstd = 0", None, "greater than 0"),
    ("[image]\nsize = 8\n[[step]]\ndo = 'normalise'\nmean = 'x'\nstd = 1", None, "mean should be a number"),
    ("[image]\nsize = 8\n[[step]]\ndo = 'scale'\ndivide_by = true", None, "divide_by should be a number"),
    ("[image]\nsize = 8\n[step]\ndo = 'scale'", None, "[[step]]"),
    ("step = [3]\n[image]\nsize = 8", None, "step 1 should be a table"),
    (None, "", "neither steps nor labels"),
    (None, "labels = 'gone.txt'", "gone.txt"),
    (None, "labels = [1, 2]", "list of texts"),
    (None, "output = 3\n[[step]]\ndo = 'softmax'", "name of an output"),
    (None, "[[step]]\ndo = 'topk'", "k should be a whole number"),
    (None, "[[step]]\ndo = 'nms'\nformat = 'xyxy'\niou = 2", "iou should be a number from 0 to 1"),
    (None, "[[step]]\ndo = 'softmax'\nname = ''", "1 to 200 characters"),
]


@pytest.mark.parametrize(("pre", "post", "words"), BAD, ids=[row[2] for row in BAD])
def test_a_document_that_is_wrong_names_the_place_and_what_is_allowed(
    tmp_path: Path, pre: str | None, post: str | None, words: str
) -> None:
    with pytest.raises(UsageError) as raised:
        read_processing(*write(tmp_path, pre, post))
    assert words in f"{raised.value.message} {raised.value.hint}"
    assert raised.value.hint


MISFITS = [
    (PRE.rpartition("[[step]]")[0], None, (X,), (Y,), "do = 'layout', to = 'NCHW'"),
    (PRE, None, (TensorSpec("x", "float16", (1, 3, 224, 224)),), (Y,), "do = 'cast', dtype = 'float16'"),
    (PRE, None, (TensorSpec("x", "float32", (1, 3, 299, 299)),), (Y,), "wants x=float32[1,3,299,299]"),
    ("input = 'q'\n" + PRE, None, (X,), (Y,), "no input 'q'"),
    (PRE, None, (X, TensorSpec("t", "int64", (1,))), (Y,), "several inputs"),
    (PRE, None, (TensorSpec("x", "float32", ()),), (Y,), "no batch"),
    (PRE.replace("224", "300"), None, (X,), (Y,), "step 2: crop to 300x300: the image is only 256x341"),
    (None, POST, (X,), (Y, TensorSpec("z", "float32", (1, 3))), "several outputs"),
    (None, "output = 'q'\n" + POST, (X,), (Y,), "no output 'q'"),
    (None, POST, (X,), (TensorSpec("y", "float32", (1, 4)),), "3 labels; 'index' has 4 classes"),
    (None, POST.replace("k = 2", "k = 9"), (X,), (Y,), "step 2: topk: k is 9"),
    (None, POST + "\n[[step]]\ndo = 'softmax'", (X,), (Y,), "step 3: softmax works on one output"),
    (None, POST.replace("k = 2", "k = 2\nindices = 'x'"), (X,), (Y,), "called 'x'"),
    (None, "labels = ['a']\n[[step]]\ndo = 'softmax'\naxis = 0", (X,), (Y,), "no output is left that labels belong"),
]


@pytest.mark.parametrize(("pre", "post", "inputs", "outputs", "words"), MISFITS, ids=[row[4] for row in MISFITS])
def test_a_document_that_does_not_fit_the_model_says_what_to_change(
    tmp_path: Path, pre: str | None, post: str | None, inputs: Any, outputs: Any, words: str
) -> None:
    processing = read_processing(*write(tmp_path, pre, post))
    assert processing is not None
    with pytest.raises((InputSpecError, UsageError)) as raised:
        bind(processing, inputs, outputs)
    assert words in f"{raised.value.message} {raised.value.hint}"
    assert raised.value.hint or "batch" in words


def test_the_guides_examples_are_read(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    assert len(blocks) == 4
    letters = string.ascii_lowercase + string.digits
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    for name in ("imagenet.txt", "coco.txt"):
        (tmp_path / name).write_text("a\nb\n")
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.toml"
        path.write_text(block)
        before = "[image]" in block or "[text]" in block
        assert read_processing(path if before else None, None if before else path) is not None


plain = st.none() | st.booleans() | st.integers(-9, 999) | st.floats(allow_nan=True) | st.text(max_size=9)
keys = st.sampled_from(
    ["do", "size", "image", "step", "labels", "output", "k", "mean", "std", "to", "filter", "format"]
)
words = st.sampled_from(["resize", "crop", "topk", "nms", "RGB", "NCHW", "normalise", "letterbox", "xyxy", "argmax"])
documents = st.recursive(
    plain | words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=15
)


@given(st.dictionaries(keys, documents, max_size=4))
def test_any_table_is_read_or_refused_in_our_words(document: dict[str, Any]) -> None:
    for kind in (Preprocess, Postprocess):
        try:
            kind.from_document(document, "x.toml")
        except NeoError as error:
            assert error.message  # noqa: PT017  whatever else is raised is a defect
