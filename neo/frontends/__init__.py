"""Framework files in, ONNX out: one module per framework, each run in a sandboxed subprocess."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# the extra that converting needs in any case; enough for frameworks that need no other
COMPILE_EXTRA = "compile"


@dataclass(frozen=True, slots=True)
class Frontend:
    """All that the rest of the program knows about a framework."""

    #: "module:function", ConversionRequest -> SourceModel. Imported and called in the confined process only.
    convert: str
    #: "module:function", ``neo.frontends.contents.Contents`` -> a key of formats, or None if it is no such file. It may
    #: raise a NeoError about a file that is nearly one. Runs in the caller's process, so it imports no framework and
    #: runs no code of the file. "": the framework has no file format.
    recognise: str = ""
    #: format -> its name in messages, with an article
    formats: Mapping[str, str] = field(default_factory=dict)
    #: formats that can only be read by running code of their author
    pickles: tuple[str, ...] = ()
    #: how a user can write files that can be read, for messages
    readable: tuple[str, ...] = ()
    #: ending of a file's name -> what such a file should be, for messages about one that is something else
    endings: Mapping[str, str] = field(default_factory=dict)
    #: ending of a model's file that a user may leave out
    common_ending: str = ""
    #: extra of this package that installs the framework
    extra: str = COMPILE_EXTRA
    #: distributions of that extra, for ``neo doctor``; "a|b": either will do
    distributions: tuple[str, ...] = ()


# in the order in which their ``recognise`` is asked
FRONTENDS = {
    "pytorch": Frontend(
        "neo.frontends.pytorch:convert",
        "neo.frontends.formats.pytorch:recognise",
        {
            "pt2": "a PyTorch exported program",
            "torchscript": "a TorchScript program",
            "torch-object": "a pickled PyTorch module",
        },
        pickles=("torch-object",),
        readable=(".pt2 (torch.export.save)", "TorchScript .pt"),
        endings={
            ".pt2": "a zip file written by torch.export.save",
            ".pt": "a TorchScript zip file written by torch.jit.save",
            ".pth": "a TorchScript zip file written by torch.jit.save",
        },
        extra="pytorch",
        distributions=("torch", "onnxscript"),
    ),
    "keras": Frontend(
        "neo.frontends.keras:convert",
        "neo.frontends.formats.keras:recognise",
        {"keras": "a Keras model", "keras-h5": "a Keras HDF5 model"},
        readable=(".keras", ".h5"),
        endings={
            ".keras": "a zip file written by Keras' model.save",
            ".h5": "an HDF5 file written by Keras' model.save",
            ".hdf5": "an HDF5 file written by Keras' model.save",
        },
        extra="tensorflow",
        distributions=("tensorflow-cpu|tensorflow", "keras", "tf2onnx"),
    ),
    "tensorflow": Frontend(
        "neo.frontends.tensorflow:convert",
        "neo.frontends.formats.tensorflow:recognise",
        {
            "savedmodel": "a TensorFlow SavedModel",
            "graphdef": "a frozen TensorFlow graph",
            "tflite": "a TensorFlow Lite model",
        },
        readable=("a SavedModel folder", "a frozen .pb graph", ".tflite"),
        endings={
            ".pb": "a frozen TensorFlow graph, a protobuf file",
            ".tflite": "a TensorFlow Lite FlatBuffers file",
        },
        extra="tensorflow",
        distributions=("tensorflow-cpu|tensorflow", "keras", "tf2onnx"),
    ),
    "transformers": Frontend(
        "neo.frontends.huggingface:convert",
        "neo.frontends.formats.huggingface:recognise",
        {"transformers": "a Hugging Face transformers folder"},
        readable=("a transformers folder",),
        extra="transformers",
        distributions=("transformers",),
    ),
    "mxnet": Frontend(
        "neo.frontends.mxnet:convert",
        "neo.frontends.formats.mxnet:recognise",
        {"mxnet": "an MXNet model"},
        readable=("MXNet -symbol.json with .params",),
        endings={".json": "an MXNet symbol file", ".params": "an MXNet parameter file"},
        common_ending="-symbol.json",
    ),
    # a chain is built by code and has no file format
    "chainer": Frontend("neo.frontends.chainer:convert"),
    "onnx": Frontend(
        "neo.frontends.onnx:convert",
        "neo.frontends.formats.onnx:recognise",
        {"onnx": "an ONNX model"},
        readable=(".onnx",),
        endings={".onnx": "a protobuf file with an ONNX graph"},
    ),
    "sklearn": Frontend(
        "neo.frontends.sklearn:convert",
        "neo.frontends.formats.sklearn:recognise",
        {"skops": "a scikit-learn model in skops' format", "pickle": "a pickled scikit-learn model"},
        pickles=("pickle",),
        readable=("scikit-learn .skops",),
        extra="sklearn",
        distributions=("scikit-learn", "skl2onnx", "skops"),
    ),
    "xgboost": Frontend(
        "neo.frontends.xgboost:convert",
        "neo.frontends.formats.xgboost:recognise",
        {"xgboost": "an XGBoost model"},
        readable=("XGBoost .ubj and .json",),
        extra="boosting",
        distributions=("xgboost-cpu|xgboost", "onnxmltools"),
    ),
    "lightgbm": Frontend(
        "neo.frontends.lightgbm:convert",
        "neo.frontends.formats.lightgbm:recognise",
        {"lightgbm": "a LightGBM model"},
        readable=("LightGBM .txt",),
        extra="boosting",
        distributions=("lightgbm", "onnxmltools"),
    ),
}
