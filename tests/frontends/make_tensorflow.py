"""TensorFlow models of every kind of file, tiny and random; called by make_models.py in a process of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

v1 = tf.compat.v1


def make_tensorflow(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    make_tensorflow_1(folder)
    make_hostile(folder)
    make_signatures(folder)
    make_lite(folder)


def make_tensorflow_1(folder: Path) -> None:
    """A SavedModel with two signatures and two graphs, and the same network frozen."""
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        images = v1.placeholder(tf.float32, [None, 8, 8, 3], name="images")
        keep = v1.placeholder_with_default(1.0, [], name="keep")
        kernel = v1.get_variable("kernel", [3, 3, 3, 4])
        features = tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME"), name="features")
        pooled = tf.multiply(tf.reduce_mean(features, [1, 2]), keep, name="pooled")
        probabilities = tf.nn.softmax(pooled, name="probabilities")
        classes = tf.argmax(probabilities, 1, name="classes")
        tf.sqrt(pooled, name="roots")
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.signature_def_utils.predict_signature_def
        signatures = {
            "serving_default": signature({"images": images}, {"probabilities": probabilities, "classes": classes}),
            "features": signature({"images": images}, {"features": features}),
        }
        builder = v1.saved_model.Builder(str(folder / "tensorflow_1"))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.add_meta_graph(["train"])
        builder.save()
        frozen = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["probabilities", "classes", "roots"]
        )
        one_end = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["classes"])
    (folder / "frozen.pb").write_bytes(frozen.SerializeToString())
    (folder / "one_end.pb").write_bytes(one_end.SerializeToString())
    (folder / "not_frozen.pb").write_bytes(graph.as_graph_def().SerializeToString())
    with tf.Graph().as_default() as unranked:
        tf.nn.relu(v1.placeholder(tf.float32, None, name="x"), name="y")
    (folder / "unranked.pb").write_bytes(unranked.as_graph_def().SerializeToString())


def make_hostile(folder: Path) -> None:
    """Graphs that would read or write a file beside them."""
    secret = str(folder / "secret")
    Path(secret).write_text("secret", encoding="utf-8")
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [1], name="x")
        length = tf.strings.length(tf.io.read_file(secret))
        tf.add(x, tf.cast(length, tf.float32), name="y")
    (folder / "reads.pb").write_bytes(graph.as_graph_def().SerializeToString())

    class Reads(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1], tf.float32, name="x")])
        def read(self, x: Any) -> Any:
            return {"y": x + tf.cast(tf.strings.length(tf.io.read_file(secret)), tf.float32)}

    class Saves(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1], tf.float32, name="x")])
        def save(self, x: Any) -> Any:
            tf.raw_ops.SaveV2(prefix=str(folder / "written"), tensor_names=["x"], shape_and_slices=[""], tensors=[x])
            return {"y": x}

    reads, saves = Reads(), Saves()
    tf.saved_model.save(reads, folder / "reads", signatures={"serving_default": reads.read})
    tf.saved_model.save(saves, folder / "saves", signatures={"serving_default": saves.save})
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        x = v1.placeholder(tf.float32, [1], name="x")
        y = tf.multiply(x, 2, name="y")
        written = str(folder / "written")
        save = tf.raw_ops.SaveV2(
            prefix=written, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant([1.0])]
        )
        builder = v1.saved_model.Builder(str(folder / "saves_when_loaded"))
        signature = v1.saved_model.signature_def_utils.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(
            session, ["serve"], signature_def_map={"serving_default": signature}, main_op=save
        )
        builder.save()
    files = tf.function(lambda x: tf.raw_ops.MatchingFiles(pattern=x), input_signature=[tf.TensorSpec([1], tf.string)])
    write_lite(folder / "custom.tflite", files, allow_custom_ops=True)


def make_signatures(folder: Path) -> None:
    """Several inputs and outputs, one of them dynamic beyond the batch; a text vocabulary, which ONNX has not."""

    class Signatures(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None, 4], tf.float32, name="tokens"),
                tf.TensorSpec([None, 4], tf.float32, name="a_query"),
            ]
        )
        def attend(self, tokens: Any, a_query: Any) -> Any:
            scores = tf.nn.softmax(tf.linalg.matvec(tokens, a_query))
            return {"scores": scores, "best": tf.argmax(scores, 1), "answer": tf.einsum("bt,btc->bc", scores, tokens)}

        @tf.function(input_signature=[tf.TensorSpec([1, 6, 6, 4], tf.float32, name="x")])
        def grouped(self, x: Any) -> Any:
            kernel = tf.reshape(tf.range(72, dtype=tf.float32) / 72, [3, 3, 2, 4])

            @tf.function(jit_compile=True)
            def compiled(x: Any) -> Any:
                return tf.nn.conv2d(x, kernel, 1, "SAME")

            return {f"y{i:02}": compiled(x) * i for i in range(12)}

    module = Signatures()
    tf.saved_model.save(module, folder / "attention", signatures={"serving_default": module.attend})
    tf.saved_model.save(module, folder / "compiled", signatures={"serving_default": module.grouped})


def make_lite(folder: Path) -> None:
    layers = keras.layers
    image = keras.Input((16, 16, 3), name="image")
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same")(image)))
    y = layers.ReLU()(layers.DepthwiseConv2D(3, strides=2, padding="same")(x))
    z = layers.Add()([layers.Conv2D(16, 1)(y), layers.MaxPooling2D()(x)])
    z = layers.AveragePooling2D(2)(layers.Concatenate()([z, y]))
    z = layers.Dense(64, activation="relu")(layers.Flatten()(z))
    model = keras.Model(image, layers.Dense(5, activation="softmax")(z))

    def classify(image: Any) -> Any:
        return {"probabilities": model(image, training=False)}

    def images() -> Iterator[list[Any]]:
        rng = np.random.default_rng(0)
        yield from ([rng.standard_normal((1, 16, 16, 3), np.float32)] for _ in range(32))

    fixed = tf.function(classify, input_signature=[tf.TensorSpec([1, 16, 16, 3], tf.float32, name="image")])
    any_batch = tf.function(classify, input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.float32, name="image")])
    shrink, integers = [tf.lite.Optimize.DEFAULT], [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    quantised = {"optimizations": shrink, "representative_dataset": images}
    write_lite(folder / "float.tflite", any_batch)
    write_lite(folder / "float16.tflite", fixed, optimizations=shrink, supported_types=[tf.float16])
    write_lite(folder / "dynamic_range.tflite", fixed, optimizations=shrink)
    write_lite(folder / "float_interface.tflite", fixed, **quantised)
    for dtype in (tf.int8, tf.uint8):
        write_lite(
            folder / f"{dtype.name}.tflite",
            fixed,
            **quantised,
            supported_ops=integers,
            inference_input_type=dtype,
            inference_output_type=dtype,
        )
    wide = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    write_lite(folder / "int16.tflite", fixed, **quantised, supported_ops=wide)
    softplus = tf.function(tf.math.softplus, input_signature=[tf.TensorSpec([2, 3], tf.float32, name="x")])
    write_lite(folder / "flex.tflite", softplus, supported_ops=[tf.lite.OpsSet.SELECT_TF_OPS])
    write_lite_with_signatures(folder)


def write_lite(path: Path, function: Callable[..., Any], **options: Any) -> None:
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    for name in ("supported_ops", "supported_types"):
        if name in options:
            setattr(converter.target_spec, name, options.pop(name))
    for name, value in options.items():
        setattr(converter, name, value)
    path.write_bytes(converter.convert())


def write_lite_with_signatures(folder: Path) -> None:
    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([2, 3], tf.float32, name="x")])
        def twice(self, x: Any) -> Any:
            return {"doubled": x * 2}

        @tf.function(input_signature=[tf.TensorSpec([2, 3], tf.float32, name="x")])
        def half(self, x: Any) -> Any:
            return {"halved": x / 2}

    module = Two()
    tf.saved_model.save(module, folder / "two", signatures={"twice": module.twice, "half": module.half})
    for names in (["half"], ["half", "twice"]):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "two"), signature_keys=names)
        (folder / f"{'_'.join(names)}.tflite").write_bytes(converter.convert())
