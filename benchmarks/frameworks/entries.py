"""The table of what is converted: one row per model and format. To add a row, add an Entry, and a maker if need be.

A maker is "module:function" below benchmarks.frameworks.makers. It is called with an empty folder and the entry's
argument, imports its framework, and returns a Made. A library that is missing is a MissingDependency: the row is then
skipped with that reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from neo.contract.tensors import TensorSpec
from neo.frontends.base import Factory


@dataclass(frozen=True, slots=True)
class Asked:
    """What the framework answered to the maker itself, before the model was saved: arrays in the order of the model's
    inputs and outputs.
    """

    inputs: tuple[NDArray[Any], ...]
    outputs: tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class Made:
    """source: what a user would give to ``neo compile``; with a factory, the weights. inputs, outputs: what --input and
    --outputs would say, () if the file says it. asked: beside the random inputs of every conversion. table: every row
    of an input is one by itself. max_rel: how far the answers may be off, as a part of the largest; more than 1e-4 for
    float16 and quantised models only.
    """

    source: Path
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    asked: tuple[Asked, ...] = ()
    table: bool = False
    factory: Factory | None = None
    trust_pickle: bool = False
    max_rel: float = 1e-4


@dataclass(frozen=True, slots=True)
class Entry:
    model: str
    framework: str
    format: str
    maker: str
    argument: dict[str, object] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.framework}/{self.model}/{self.format}"


def _mxnet() -> list[Entry]:
    """Name in gluon's model zoo, size of the image; then networks of our own, with what they are called with."""
    sizes = {
        **dict.fromkeys(["alexnet", "vgg11", "vgg11_bn", "resnet18_v1", "resnet50_v1", "resnet18_v2"], 224),
        **dict.fromkeys(["resnet50_v2", "squeezenet1_0", "squeezenet1_1", "densenet121"], 224),
        **dict.fromkeys(["mobilenet1_0", "mobilenet0_25", "mobilenet_v2_1_0", "mobilenet_v2_0_25"], 224),
        "inception_v3": 299,
    }
    inputs = {
        **dict.fromkeys(["gluon lstm", "gluon gru", "gluon rnn"], ("data=float32[2,6]",)),
        **dict.fromkeys(["gluon cells", "symbolic cells", "symbolic fused"], ("data=float32[2,6,5]",)),
        "detector": ("data=float32[1,3,32,32]",),
        "segmenter": ("data=float32[2,3,20,24]",),
        "encoder": ("data0=float32[7,2,12]", "data1=float32[2]"),
        "numpy": ("data=float32[2,3,8,8]",),
    }
    return [
        Entry(name, "mxnet", "symbol + params", "mxnet:gluon", {"name": name, "size": size})
        for name, size in sizes.items()
    ] + [
        Entry(name, "mxnet", "symbol + params", "mxnet:network", {"name": name, "inputs": texts})
        for name, texts in inputs.items()
    ]


def _keras() -> list[Entry]:
    names = ["ResNet50", "MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0"]
    names += ["EfficientNetV2B0", "DenseNet121", "InceptionV3", "Xception", "NASNetMobile", "ConvNeXtTiny"]
    entries = [Entry(name, "keras", ".keras", "keras:application", {"name": name, "to": "keras"}) for name in names]
    for name in ("MobileNetV2", "EfficientNetB0"):
        entries += [
            Entry(name, "keras", ".h5", "keras:application", {"name": name, "to": "h5"}),
            Entry(name, "tensorflow", "SavedModel", "keras:application", {"name": name, "to": "savedmodel"}),
        ]
    return [*entries, Entry("layers of every kind", "keras", ".h5 of Keras 2", "keras:legacy")]


def _tensorflow() -> list[Entry]:
    kinds = ("float32", "float16", "dynamic range", "int8")
    return [
        Entry("separable CNN", "tensorflow", "SavedModel of TensorFlow 1", "tensorflow:graph", {"to": "savedmodel"}),
        Entry("separable CNN", "tensorflow", "frozen .pb", "tensorflow:graph", {"to": "frozen"}),
        *(Entry("digits CNN", "tensorflow", f".tflite {kind}", "tensorflow:lite", {"kind": kind}) for kind in kinds),
    ]


_PROGRAMS = {"pt2": ".pt2", "torchscript": "TorchScript"}


def _pytorch() -> list[Entry]:
    names = ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "squeezenet"]
    names += ["densenet121", "inception_v3", "vgg16", "unet", "bert_base", "distilbert", "vit_base", "lstm", "mlp"]
    scripted = ["resnet18", "mobilenet_v2", "efficientnet_b0", "unet", "distilbert", "vit_base", "lstm", "mlp"]
    kinds = {"pt2": names, "torchscript": scripted}
    weights = {"safetensors": "--module, .safetensors", "pth": "--module, .pth"}
    return [
        Entry(name, "pytorch", _PROGRAMS[to], "pytorch:zoo", {"name": name, "to": to})
        for to, listed in kinds.items()
        for name in listed
    ] + [
        Entry(name, "pytorch", ending, "pytorch:zoo", {"name": name, "to": to})
        for to, ending in weights.items()
        for name in ("mobilenet_v2", "unet")
    ]


def _transformers() -> list[Entry]:
    names = ("BERT", "DistilBERT", "GPT-2", "ViT", "Swin", "ConvNeXt", "Whisper", "YOLOS")
    return [
        Entry(
            "Whisper encoder" if name == "Whisper" else name,
            "pytorch",
            ending,
            "transformers:program",
            {"name": name, "to": to},
        )
        for to, ending in _PROGRAMS.items()
        for name in names
    ] + [Entry(name, "transformers", "folder", "transformers:folder", {"name": name}) for name in names]


def _classical() -> list[Entry]:
    names = ["linear regression", "logistic regression", "decision tree", "decision tree regression", "random forest"]
    names += ["random forest regression", "extra trees", "gradient boosting", "histogram boosting", "SVM", "linear SVM"]
    names += ["SVM regression", "nearest neighbours", "naive Bayes", "perceptron", "scaled pipeline"]
    names += ["components pipeline", "polynomial pipeline", "encoders by column"]
    boosted = [("breast cancer", "ubj"), ("breast cancer", "json"), ("digits", "ubj"), ("diabetes", "json")]
    return [
        *(
            Entry(name, "scikit-learn", ".joblib", "classical:pickled", {"name": name, "ending": "joblib"})
            for name in names
        ),
        Entry("random forest", "scikit-learn", ".pkl", "classical:pickled", {"name": "random forest", "ending": "pkl"}),
        *(
            Entry(name, "scikit-learn", ".skops", "classical:skops", {"name": name})
            for name in ("random forest", "SVM", "scaled pipeline", "encoders by column")
        ),
        *(
            Entry(f"boosted trees, {data}", "XGBoost", f".{to}", "classical:xgboost", {"data": data, "to": to})
            for data, to in boosted
        ),
        *(
            Entry(f"boosted trees, {data}", "LightGBM", ".txt", "classical:lightgbm", {"data": data})
            for data in ("breast cancer", "wine", "diabetes")
        ),
    ]


def _chainer() -> list[Entry]:
    sizes = {"Perceptron": 64, "AlexNet": 127, "ResNet": 64, "UNet": 64}
    return [
        Entry(name, "chainer", "--module, .npz", "chainer:chain", {"name": name, "size": size})
        for name, size in sizes.items()
    ]


def _onnx() -> list[Entry]:
    kinds = ("float32, opset 7", "float32, latest opset", "external data", "float16", "QDQ int8", "QOperator int8")
    return [Entry("digits CNN", "onnx", kind, "onnx:digits", {"kind": kind}) for kind in kinds]


_BY_MAKER = (_mxnet, _keras, _tensorflow, _pytorch, _transformers, _classical, _chainer, _onnx)
ENTRIES = tuple(entry for entries in _BY_MAKER for entry in entries())
