"""Architectures of Hugging Face's transformers, small, from a configuration: nothing is fetched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from benchmarks.frameworks.entries import Made
from benchmarks.frameworks.makers.pytorch import save
from neo.errors import MissingDependency

os.environ["HF_HUB_OFFLINE"] = "1"
SEED = 0
TOKENS, IMAGE, FRAMES = 16, 64, 60
_TEXT = {"vocab_size": 200, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_PATCHES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
# name: (configuration, its arguments, model, whether it reads "tokens", "image" or "sound")
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "BERT": ("BertConfig", {**_TEXT, "intermediate_size": 128}, "BertForSequenceClassification", "tokens"),
    "DistilBERT": (
        "DistilBertConfig",
        {"vocab_size": 200, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128},
        "DistilBertForSequenceClassification",
        "tokens",
    ),
    "GPT-2": ("GPT2Config", {"vocab_size": 200, "n_embd": 64, "n_layer": 2, "n_head": 4}, "GPT2LMHeadModel", "tokens"),
    "ViT": ("ViTConfig", {**_PATCHES, "image_size": IMAGE, "patch_size": 8}, "ViTForImageClassification", "image"),
    "Swin": (
        "SwinConfig",
        {
            "image_size": IMAGE,
            "patch_size": 4,
            "embed_dim": 24,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
        },
        "SwinForImageClassification",
        "image",
    ),
    "ConvNeXt": (
        "ConvNextConfig",
        {"hidden_sizes": [16, 32, 64, 64], "depths": [2, 2, 2, 2], "image_size": IMAGE},
        "ConvNextForImageClassification",
        "image",
    ),
    "Whisper encoder": (
        "WhisperConfig",
        {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_layers": 1}
        | {"decoder_attention_heads": 4, "max_source_positions": FRAMES // 2, "num_mel_bins": 80},
        "WhisperModel",
        "sound",
    ),
    "YOLOS": (
        "YolosConfig",
        {**_PATCHES, "image_size": [IMAGE, IMAGE], "patch_size": 8, "num_detection_tokens": 10},
        "YolosForObjectDetection",
        "image",
    ),
}


class _Tensors(torch.nn.Module):  # type: ignore[misc]  # torch's class, which mypy skips
    """The model with tensors for answers: logits, boxes or hidden states."""

    def __init__(self, model: torch.nn.Module, input_name: str) -> None:
        super().__init__()
        self.model = model
        self._input_name = input_name

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        answer = self.model(**{self._input_name: x}, return_dict=True)
        names = [
            name for name in ("logits", "pred_boxes", "last_hidden_state") if getattr(answer, name, None) is not None
        ]
        return tuple(getattr(answer, name) for name in names[:2])


def _model(name: str) -> tuple[torch.nn.Module, str]:
    try:
        import transformers
    except ImportError as error:
        raise MissingDependency("transformers is not installed", hint="pip install transformers") from error
    configuration, arguments, model, kind = ARCHITECTURES[name]
    torch.manual_seed(SEED)
    whole = getattr(transformers, model)(getattr(transformers, configuration)(**arguments))
    return whole.eval(), kind


def program(folder: Path, name: str) -> Made:
    model, kind = _model(name)
    torch.manual_seed(SEED)
    examples = {
        "tokens": ("input_ids", torch.randint(0, 200, (1, TOKENS))),
        "image": ("pixel_values", torch.randn(1, 3, IMAGE, IMAGE)),
        "sound": ("input_features", torch.randn(1, 80, FRAMES)),
    }
    input_name, example = examples[kind]
    network = model.get_encoder() if kind == "sound" else model
    return Made(save(_Tensors(network, input_name).eval(), (example,), folder, "pt2"))


def folder(folder: Path, name: str) -> Made:
    model, _kind = _model(name)
    model.save_pretrained(folder / "model")
    return Made(folder / "model")
