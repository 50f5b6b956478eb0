"""The table of what is converted: one row per model and format. To add a row, add an Entry, and a maker if need be.

A maker is "module:function" below benchmarks.frameworks.makers. It is called with an empty folder and the entry's
argument, imports its framework, and returns a Made. A library that is missing is a MissingDependency: the row is then
skipped with that reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from neo.contract.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class Made:
    """source: what a user would give to ``neo compile``. inputs: what --input would say, () if the file says it.
    max_rel: how far the answers may be off, as a part of the largest; more than 1e-4 for quantised models only.
    """

    source: Path
    inputs: tuple[TensorSpec, ...] = ()
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
    """Name in gluon's model zoo, size of the image."""
    sizes = {
        **dict.fromkeys(["alexnet", "vgg11", "vgg11_bn", "resnet18_v1", "resnet50_v1", "resnet18_v2"], 224),
        **dict.fromkeys(["resnet50_v2", "squeezenet1_0", "squeezenet1_1", "densenet121"], 224),
        **dict.fromkeys(["mobilenet1_0", "mobilenet0_25", "mobilenet_v2_1_0", "mobilenet_v2_0_25"], 224),
        "inception_v3": 299,
    }
    return [
        Entry(name, "mxnet", "symbol + params", "mxnet:gluon", {"name": name, "size": size})
        for name, size in sizes.items()
    ]


def _keras() -> list[Entry]:
    names = ["ResNet50", "MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "EfficientNetV2B0"]
    names += ["DenseNet121", "InceptionV3", "Xception", "NASNetMobile", "ConvNeXtTiny"]
    entries = [Entry(name, "keras", ".keras", "keras:application", {"name": name, "to": "keras"}) for name in names]
    for name in ("MobileNetV2", "EfficientNetB0"):
        entries += [
            Entry(name, "keras", ".h5", "keras:application", {"name": name, "to": "h5"}),
            Entry(name, "tensorflow", "SavedModel", "keras:application", {"name": name, "to": "savedmodel"}),
        ]
    kinds = ("float32", "float16", "dynamic range", "int8")
    return entries + [
        Entry("digits CNN", "tensorflow", f".tflite {kind}", "keras:tflite", {"kind": kind}) for kind in kinds
    ]


def _pytorch() -> list[Entry]:
    names = ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "squeezenet"]
    names += ["densenet121", "inception_v3", "vgg16", "unet", "bert_base", "distilbert", "vit_base", "lstm", "mlp"]
    entries = [Entry(name, "pytorch", ".pt2", "pytorch:zoo", {"name": name, "to": "pt2"}) for name in names]
    scripted = ["resnet18", "mobilenet_v2", "unet", "distilbert", "vit_base", "lstm"]
    return entries + [
        Entry(name, "pytorch", "TorchScript", "pytorch:zoo", {"name": name, "to": "torchscript"}) for name in scripted
    ]


def _transformers() -> list[Entry]:
    names = ("BERT", "DistilBERT", "GPT-2", "ViT", "Swin", "ConvNeXt", "Whisper encoder", "YOLOS")
    programs = [Entry(name, "pytorch", ".pt2", "transformers:program", {"name": name}) for name in names]
    whole = [name for name in names if name != "Whisper encoder"]
    return programs + [Entry(name, "transformers", "folder", "transformers:folder", {"name": name}) for name in whole]


def _classical() -> list[Entry]:
    names = ("linear regression", "logistic regression", "decision tree", "random forest", "SVM", "scaled pipeline")
    entries = [Entry(name, "scikit-learn", ".joblib", "classical:joblib", {"name": name}) for name in names]
    return [
        *entries,
        Entry("scaled pipeline", "scikit-learn", ".skops", "classical:skops", {"name": "scaled pipeline"}),
        Entry("boosted trees", "XGBoost", ".ubj", "classical:xgboost", {"to": "ubj"}),
        Entry("boosted trees", "XGBoost", ".json", "classical:xgboost", {"to": "json"}),
        Entry("boosted trees", "LightGBM", ".txt", "classical:lightgbm"),
    ]


def _onnx() -> list[Entry]:
    kinds = ("float32, opset 7", "float32, latest opset", "external data", "float16", "QDQ int8", "QOperator int8")
    return [Entry("digits CNN", "onnx", kind, "onnx:digits", {"kind": kind}) for kind in kinds]


ENTRIES = (*_mxnet(), *_keras(), *_pytorch(), *_transformers(), *_classical(), *_onnx())
