"""Run with MXNet: ``export_networks.py NAME PREFIX`` exports a small network with random weights.

Recurrent ones in every way that MXNet writes them, a detector, a segmenter, an encoder with attention, and a network
of mxnet.np; ``NETWORKS`` has them by name.
"""

import sys
import warnings

warnings.simplefilter("ignore")

import mxnet as mx  # noqa: E402
from mxnet.gluon import nn, rnn  # noqa: E402

WORDS, STEPS, FEATURES = 11, 6, 5
# weights under which what a cell remembers reaches the answer
LIVELY = 2.0


def initialized(net, *inputs, scale=0.6):
    net.initialize(mx.init.Uniform(scale))
    net.hybridize()
    net(*inputs)
    return net


class Tagger(mx.gluon.HybridBlock):
    """Words (batch, time) to labels through a layer of gluon.rnn, whose states begin with zeros."""

    def __init__(self, layer):
        super().__init__()
        with self.name_scope():
            self.embedding = nn.Embedding(WORDS, FEATURES)
            self.layer = layer
            self.labels = nn.Dense(3, flatten=False)

    def hybrid_forward(self, _ops, words):
        return self.labels(self.layer(self.embedding(words)))


class Unrolled(mx.gluon.HybridBlock):
    def __init__(self, cell):
        super().__init__()
        with self.name_scope():
            self.cell = cell

    def hybrid_forward(self, ops, sequence):
        outputs, _ = self.cell.unroll(STEPS, sequence, merge_outputs=True)
        return ops.softmax(outputs)


class Detector(mx.gluon.HybridBlock):
    """A single-shot detector of two feature maps."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.bodies, self.classes, self.boxes = (nn.HybridSequential() for _ in range(3))
            for _ in range(2):
                body = nn.HybridSequential()
                body.add(nn.Conv2D(8, 3, 2, 1, use_bias=False), nn.BatchNorm(), nn.LeakyReLU(0.1))
                self.bodies.add(body)
                self.classes.add(nn.Conv2D(3 * 4, 3, 1, 1))
                self.boxes.add(nn.Conv2D(3 * 4, 3, 1, 1))

    def hybrid_forward(self, ops, x):
        classes, boxes, anchors = [], [], []
        for body, to_classes, to_boxes in zip(self.bodies, self.classes, self.boxes):  # noqa: B905 - Python 3.8
            x = body(x)
            scores = ops.transpose(to_classes(x), axes=(0, 2, 3, 1))
            classes.append(ops.reshape(scores, shape=(0, -1, 4)))
            boxes.append(ops.flatten(ops.transpose(to_boxes(x), axes=(0, 2, 3, 1))))
            anchors.append(ops.contrib.MultiBoxPrior(x, sizes=(0.3, 0.5), ratios=(1, 2)))
        scores = ops.transpose(ops.softmax(ops.concat(*classes, dim=1)), axes=(0, 2, 1))
        joined = ops.concat(*boxes, dim=1), ops.concat(*anchors, dim=1)
        return ops.contrib.MultiBoxDetection(scores, *joined, nms_threshold=0.45, nms_topk=40)


class Segmenter(mx.gluon.HybridBlock):
    """Pyramid pooling, enlarged to the size of the image."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.body = nn.Conv2D(8, 3, 2, 1, activation="relu")
            self.head = nn.Conv2D(4, 1)
            self.up = nn.Conv2DTranspose(4, 4, 2, 1)

    def hybrid_forward(self, ops, image):
        x = self.body(image)
        pyramid = [ops.contrib.AdaptiveAvgPooling2D(x, output_size=size) for size in (1, 2, 3)]
        pyramid = [ops.contrib.BilinearResize2D(level, x, mode="like", align_corners=False) for level in pyramid]
        logits = self.up(self.head(ops.concat(x, *pyramid, dim=1)))
        return logits, ops.argmax(ops.slice_like(logits, image, axes=(2, 3)), axis=1)


class Encoder(mx.gluon.HybridBlock):
    """One block of a transformer over (time, batch, features), as GluonNLP writes it."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.project, self.out = nn.Dense(36, flatten=False), nn.Dense(12, flatten=False)
            self.norm, self.gelu = nn.LayerNorm(), nn.GELU()

    def hybrid_forward(self, ops, x, lengths):
        projected = self.project(x)
        scores = ops.contrib.interleaved_matmul_selfatt_qk(projected, heads=3)
        positions = ops.contrib.arange_like(ops.slice_axis(x, axis=2, begin=0, end=1).reshape((-1, 0)), axis=0)
        inside = ops.broadcast_lesser(positions.reshape((1, 1, -1)), lengths.reshape((-1, 1, 1)))
        mask = ops.repeat(inside, repeats=3, axis=0)
        attention = ops.softmax(ops.broadcast_add(scores, (mask - 1) * 1e4))
        context = ops.contrib.interleaved_matmul_selfatt_valatt(projected, attention, heads=3)
        return self.gelu(self.norm(x + self.out(context)))


class NumpyNet(mx.gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.conv, self.norm, self.dense = nn.Conv2D(4, 3, activation="relu"), nn.BatchNorm(), nn.Dense(6)

    def hybrid_forward(self, ops, x):
        x = self.norm(self.conv(x))
        pooled = ops.np.mean(x, axis=(2, 3)) + ops.np.max(x, axis=(2, 3))
        y = self.dense(x) * 2 + ops.np.sum(pooled)
        return ops.npx.softmax(ops.np.concatenate([y, pooled], axis=1)), ops.np.argmax(y, axis=0), y[0, 1:3]


def unrolled(cell):
    return initialized(Unrolled(cell), mx.nd.ones((2, STEPS, FEATURES)), scale=LIVELY)


def tagger(layer):
    return initialized(Tagger(layer), mx.nd.ones((2, STEPS)), scale=LIVELY)


def stacked_cells():
    cells = rnn.HybridSequentialRNNCell()
    cells.add(rnn.LSTMCell(4))
    cells.add(rnn.ResidualCell(rnn.GRUCell(4)))
    cells.add(rnn.BidirectionalCell(rnn.RNNCell(3), rnn.GRUCell(3)))
    return cells


def numpy_net():
    mx.npx.set_np()
    return initialized(NumpyNet(), mx.np.ones((2, 3, 8, 8)))


NETWORKS = {
    "gluon lstm": lambda: tagger(rnn.LSTM(4, 2, layout="NTC", bidirectional=True)),
    "gluon gru": lambda: tagger(rnn.GRU(4, 2, layout="NTC")),
    "gluon rnn": lambda: tagger(rnn.RNN(4, 1, activation="tanh", layout="NTC", bidirectional=True)),
    "gluon cells": lambda: unrolled(stacked_cells()),
    # scores of 1 stand in no order
    "detector": lambda: initialized(Detector(), mx.nd.ones((1, 3, 32, 32)), scale=0.2),
    "segmenter": lambda: initialized(Segmenter(), mx.nd.ones((1, 3, 20, 24))),
    "encoder": lambda: initialized(Encoder(), mx.nd.ones((7, 2, 12)), mx.nd.ones((2,))),
    "numpy": numpy_net,
}


def symbolic(name, prefix):
    """The cells of mx.rnn: unrolled, or fused into one operator, saved with save_checkpoint."""
    if name == "symbolic cells":
        cell = mx.rnn.SequentialRNNCell()
        cell.add(mx.rnn.LSTMCell(4, prefix="lstm_"))
        cell.add(mx.rnn.BidirectionalCell(mx.rnn.GRUCell(3, prefix="l_"), mx.rnn.RNNCell(3, prefix="r_")))
    else:
        cell = mx.rnn.FusedRNNCell(4, num_layers=2, mode="lstm", bidirectional=True, prefix="fused_")
    outputs, _ = cell.unroll(STEPS, inputs=mx.sym.var("data"), merge_outputs=True, layout="NTC")
    labels = mx.sym.FullyConnected(mx.sym.reshape(outputs, shape=(-3, -2)), num_hidden=3, name="labels")
    symbol = mx.sym.SoftmaxOutput(labels, name="softmax")
    shapes, _, _ = symbol.infer_shape(data=(2, STEPS, FEATURES))
    weights = {
        name: mx.nd.random.uniform(-LIVELY, LIVELY, shape)
        for name, shape in zip(symbol.list_arguments(), shapes)  # noqa: B905 - Python 3.8
        if name not in {"data", "softmax_label"}
    }
    mx.model.save_checkpoint(prefix, 7, symbol, weights, {})


def export(name, prefix):
    mx.random.seed(0)
    if name.startswith("symbolic"):
        symbolic(name, prefix)
    else:
        NETWORKS[name]().export(prefix)


export(sys.argv[1], sys.argv[2])
