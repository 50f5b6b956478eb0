"""GPT-2's and RoBERTa's tokenizers inside a compiled model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neo.errors import UsageError
from neo.processing.documents import read_processing
from neo.processing.text import TextPreprocess
from neo.processing.tokenizers.bytepairs import byte_signs
from neo.runtime import load
from tests.processing.text_models import LENGTH, compiled

PAIRS = [
    *(("h", "e"), ("l", "l"), ("ll", "o"), ("he", "llo"), ("Ġ", "w"), ("o", "r"), ("Ġw", "or"), ("l", "d")),
    *(("Ġwor", "ld"), ("Ġ", "hello"), ("'", "t"), ("Ã", "©"), ("Ġ", "Ġ"), ("a", "a"), ("g", "o"), ("go", "o")),
]
BPE_TEXTS = (
    *("hello world", "Hello, world! don't", " hello", "hello  world  ", "hello\n\nworld ", "héllo wörld", ""),
    *("中国 12 34hello", "it's we'll I'd DON'T", "a_b x² ½", "\u00a0hello\tthere", "😀 ok", "!!! ...", "aaaaa aaa"),
)


def write_byte_pairs(folder: Path, tokenizer: str) -> Path:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(byte_signs().values())]
    pieces += [*dict.fromkeys(a + b for a, b in PAIRS), "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    merges = ["#version: 0.2", *(" ".join(pair) for pair in PAIRS)]
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    document = f'[text]\ntokenizer = "{tokenizer}"\nvocabulary = "vocab.json"\nmerges = "merges.txt"\n'
    (folder / "text.toml").write_text(document, encoding="utf-8")
    return folder / "text.toml"


@pytest.mark.parametrize(("tokenizer", "theirs"), [("gpt2", "GPT2Tokenizer"), ("roberta", "RobertaTokenizer")])
def test_byte_pairs_are_put_together_as_transformers_does(tmp_path: Path, tokenizer: str, theirs: str) -> None:
    transformers = pytest.importorskip("transformers")
    processing = read_processing(write_byte_pairs(tmp_path, tokenizer), None)
    assert processing is not None
    assert isinstance(processing.preprocess, TextPreprocess)
    reference = getattr(transformers, theirs)(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    for text in BPE_TEXTS:
        for most in (64, 6):
            wanted = reference(text, max_length=most, truncation=True)["input_ids"]
            assert processing.preprocess.tokenizer.numbers(text, most) == wanted, text


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["gpt2", "roberta"])
def test_byte_pairs_become_part_of_the_model(tmp_path: Path, tokenizer: str) -> None:
    pytest.importorskip("onnxruntime_extensions")
    write_byte_pairs(tmp_path, tokenizer)
    _made, folder = compiled(tmp_path, "onnxruntime", pieces=512)
    processing = read_processing(tmp_path / "text.toml", None)
    assert processing is not None
    assert isinstance(processing.preprocess, TextPreprocess)
    ours = processing.preprocess.tokenizer
    predictor = load(folder, 1)
    for text in BPE_TEXTS:
        numbers = ours.numbers(text, LENGTH)
        wanted = [number + 1 for number in numbers] + [ours.filling] * (LENGTH - len(numbers))
        assert predictor.predict({"text": np.array([text])})["seen"].tolist() == [wanted], text
    predictor.close()


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("vocab.json", '{"a": 0, "b": 2}', "numbers from 0 on"),
        ("vocab.json", '["a"]', "numbers from 0 on"),
        ("vocab.json", "no JSON", "numbers from 0 on"),
        ("vocab.json", '{"a": 0, "<s>": 1}', "lacks"),
        ("merges.txt", "#version: 0.2\nx y\n", "'x y' in merges makes no piece"),
        ("merges.txt", "h e l\n", "'h e l' in merges makes no piece"),
    ],
)
def test_byte_pairs_that_do_not_fit_together_are_refused(tmp_path: Path, file: str, content: str, says: str) -> None:
    path = write_byte_pairs(tmp_path, "roberta")
    (tmp_path / file).write_text(content)
    with pytest.raises(UsageError, match=says):
        read_processing(path, None)
