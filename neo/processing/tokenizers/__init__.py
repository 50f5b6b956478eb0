"""Text to numbers. One function in READERS for each name that ``tokenizer`` can have."""

from __future__ import annotations

from collections.abc import Callable

from neo.processing.tables import Table
from neo.processing.tokenizers.bytepairs import read_gpt2, read_roberta
from neo.processing.tokenizers.state import Tokenizer
from neo.processing.tokenizers.wordpiece import read_bert

READERS: dict[str, Callable[[Table], Tokenizer]] = {"bert": read_bert, "gpt2": read_gpt2, "roberta": read_roberta}
