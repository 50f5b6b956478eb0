"""Kinds of Relax operators that several stages ask about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import relax

# name without "relax." -> the function that builds a call
CONVOLUTIONS: Mapping[str, Callable[..., Any]] = {
    "nn.conv1d": relax.op.nn.conv1d,
    "nn.conv2d": relax.op.nn.conv2d,
    "nn.conv3d": relax.op.nn.conv3d,
}
