"""BERT-base (Devlin et al. 2019), DistilBERT (Sanh et al. 2019) and ViT-base/16 (Dosovitskiy et al. 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

WIDTH, HEADS, HIDDEN = 768, 12, 3072
VOCABULARY, POSITIONS, SEGMENTS = 30522, 512, 2
IMAGE, PATCH = 224, 16
# added to the scores of masked tokens
MASKED = -1e4


class _Attention(nn.Module):
    """x: float32 (N, L, WIDTH); bias: float32, broadcast to (N, HEADS, L, L), or None."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        query, key, value = (
            layer(x).reshape(1, -1, HEADS, WIDTH // HEADS).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(WIDTH // HEADS)
        if bias is not None:
            scores = scores + bias
        return self.out((torch.softmax(scores, -1) @ value).transpose(1, 2).reshape(1, -1, WIDTH))


def _feed_forward() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, WIDTH))


class _NormLast(nn.Module):
    """A layer of BERT: normalised after every addition."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.feed = _Attention(), _feed_forward()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, 1e-12), nn.LayerNorm(WIDTH, 1e-12)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x, bias))
        return self.norm2(x + self.feed(x))


class _NormFirst(nn.Module):
    """A layer of ViT: normalised before attention and before the dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.feed = _Attention(), _feed_forward()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, 1e-6), nn.LayerNorm(WIDTH, 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), None)
        return x + self.feed(self.norm2(x))


class Bert(nn.Module):
    """input_ids, attention_mask: int64 (1, L) -> the last layer's states, float32 (1, L, WIDTH)."""

    def __init__(self, layers: int, segments: int) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.segments = nn.Embedding(segments, WIDTH) if segments else None
        self.norm = nn.LayerNorm(WIDTH, 1e-12)
        self.layers = nn.ModuleList(_NormLast() for _ in range(layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.words(input_ids) + self.positions.weight[: input_ids.shape[1]]
        if self.segments is not None:
            x = x + self.segments.weight[0]
        x = self.norm(x)
        bias = (1.0 - attention_mask[:, None, None, :].float()) * MASKED
        for layer in self.layers:
            x = layer(x, bias)
        return x


class VisionTransformer(nn.Module):
    """float32 (1, 3, IMAGE, IMAGE) -> (1, 1000)."""

    def __init__(self, layers: int = 12) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.summary = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Embedding((IMAGE // PATCH) ** 2 + 1, WIDTH)
        self.layers = nn.Sequential(*(_NormFirst() for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(WIDTH, 1e-6), nn.Linear(WIDTH, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.summary, self.patches(x).flatten(2).transpose(1, 2)], 1)
        return self.head(self.norm(self.layers(x + self.positions.weight))[:, 0])


def bert_base() -> nn.Module:
    return Bert(12, SEGMENTS)


def distilbert() -> nn.Module:
    return Bert(6, 0)


def vit_base() -> nn.Module:
    return VisionTransformer()
