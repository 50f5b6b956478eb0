"""Architectures of Hugging Face's transformers, from a configuration, with random weights: nothing is fetched."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.frameworks.entries import Made
from benchmarks.frameworks.makers.pytorch import ask, save
from benchmarks.frameworks.pictures import pictures
from neo.errors import MissingDependency

os.environ["HF_HUB_OFFLINE"] = "1"
SEED = 0
ASKED = 4
TOKENS, VOCABULARY = 16, 200
# as much as layers of 64 need, so that what flows through keeps its size
_RANGE = 0.125


@dataclass(frozen=True, slots=True)
class Architecture:
    """configuration, model: classes of transformers. question: the shape of its input. small, published: what the
    configuration is told; without published, there is the small one only.
    """

    configuration: str
    model: str
    input_name: str
    small: dict[str, Any]
    question: tuple[int, ...] = (TOKENS,)
    published: dict[str, Any] | None = None
    published_question: tuple[int, ...] = ()


def _layers(width: str, layers: str, heads: str, feed_forward: str) -> dict[str, Any]:
    return {width: 64, layers: 2, heads: 4, feed_forward: 128}


_USUAL = _layers("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_IMAGE = (3, 64, 64)
_WHISPER = {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128} | {
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 128,
    "max_source_positions": 30,
    "vocab_size": VOCABULARY,
    "init_std": _RANGE,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 3),
}
ARCHITECTURES = {
    "BERT": Architecture(
        "BertConfig", "BertForSequenceClassification", "input_ids", {**_USUAL, "vocab_size": VOCABULARY}
    ),
    "DistilBERT": Architecture(
        "DistilBertConfig",
        "DistilBertForSequenceClassification",
        "input_ids",
        {**_layers("dim", "n_layers", "n_heads", "hidden_dim"), "vocab_size": VOCABULARY},
    ),
    "GPT-2": Architecture(
        "GPT2Config",
        "GPT2LMHeadModel",
        "input_ids",
        {**_layers("n_embd", "n_layer", "n_head", "n_inner"), "vocab_size": VOCABULARY},
        published={"initializer_range": 0.1},
        published_question=(64,),
    ),
    "ViT": Architecture(
        "ViTConfig", "ViTForImageClassification", "pixel_values", {**_USUAL, "image_size": 64, "patch_size": 8}, _IMAGE
    ),
    "Swin": Architecture(
        "SwinConfig",
        "SwinForImageClassification",
        "pixel_values",
        {"image_size": 64, "patch_size": 4, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
        _IMAGE,
        published={},
        published_question=(3, 224, 224),
    ),
    "ConvNeXt": Architecture(
        "ConvNextConfig",
        "ConvNextForImageClassification",
        "pixel_values",
        {"hidden_sizes": [16, 32, 64, 64], "depths": [2, 2, 2, 2], "image_size": 64, "layer_scale_init_value": 0.5},
        _IMAGE,
        published={"layer_scale_init_value": 0.5},
        published_question=(3, 224, 224),
    ),
    "Whisper": Architecture(
        "WhisperConfig",
        "WhisperForConditionalGeneration",
        "input_features",
        _WHISPER,
        (80, 60),
        published={"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
        | {"init_std": 0.05},
        published_question=(80, 3000),
    ),
    "YOLOS": Architecture(
        "YolosConfig",
        "YolosForObjectDetection",
        "pixel_values",
        # so wide that the boxes differ too
        {**_USUAL, "image_size": [64, 64], "patch_size": 8, "num_detection_tokens": 10, "initializer_range": 0.25},
        _IMAGE,
        published={"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768, "image_size": [256, 256]}
        | {"initializer_range": 0.1},
        published_question=(3, 256, 256),
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


def _model(architecture: Architecture, arguments: dict[str, Any]) -> torch.nn.Module:
    try:
        import transformers
    except ImportError as error:
        raise MissingDependency("transformers is not installed", hint="pip install transformers") from error
    torch.manual_seed(SEED)
    configuration = getattr(transformers, architecture.configuration)(**arguments)
    whole: torch.nn.Module = getattr(transformers, architecture.model)(configuration)
    _enliven(whole)
    return whole.eval()


def _enliven(network: torch.nn.Module) -> None:
    """Scales and offsets as training leaves them: with ones and zeros, one that is lost goes unnoticed."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() == 1:
                noise = 0.2 * (2.0 * torch.rand(parameter.shape, generator=generator) - 1.0)
                parameter.add_(noise if name.endswith("bias") else noise * parameter)


def program(folder: Path, name: str, to: str) -> Made:
    """In its published size if there is one here; of Whisper, the encoder alone."""
    architecture = ARCHITECTURES[name]
    published = architecture.published
    model = _model(architecture, _small(architecture) if published is None else published)
    network = _Tensors(model.get_encoder() if name == "Whisper" else model, architecture.input_name).eval()
    questions = _questions(architecture.question if published is None else architecture.published_question)
    return Made(save(network, questions[0], folder, to), asked=ask(network, questions))


def _small(architecture: Architecture) -> dict[str, Any]:
    return {"initializer_range": _RANGE, **architecture.small}


def _questions(shape: tuple[int, ...]) -> list[tuple[torch.Tensor, ...]]:
    """Words, sound or pictures, by the number of dimensions."""
    generator = torch.Generator().manual_seed(SEED)
    if len(shape) == 1:
        found = torch.randint(0, VOCABULARY, (ASKED, 1, *shape), generator=generator)
    elif len(shape) == 2:
        found = torch.randn(ASKED, 1, *shape, generator=generator)
    else:
        found = torch.from_numpy(pictures(ASKED, *shape[1:])[:, None])
    return [(one,) for one in found]


def folder(folder: Path, name: str) -> Made:
    """A small one."""
    _model(ARCHITECTURES[name], _small(ARCHITECTURES[name])).save_pretrained(folder / "model")
    return Made(folder / "model")
