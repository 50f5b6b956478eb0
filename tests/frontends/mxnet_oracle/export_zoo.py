"""Run with MXNet: ``export_zoo.py NAME SIZE PREFIX [PICTURES ANSWERS]`` exports a gluon model zoo network.

Weights are random, also what batch normalisations learn; their running statistics are those of some images, so that
what flows through keeps its size. With PICTURES, float32 (N, 3, SIZE, SIZE) as .npy, the second half of them gives the
statistics, and what MXNet answers to the first half, one by one, goes to ANSWERS.
"""

import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")

import mxnet as mx  # noqa: E402
from mxnet.gluon.model_zoo import vision  # noqa: E402

LEARNT = {"gamma": (0.8, 1.2), "beta": (-0.2, 0.2), "bias": (-0.1, 0.1)}


def built(name, images):
    mx.random.seed(0)
    random = np.random.RandomState(0)
    net = getattr(vision, name)(classes=10)
    net.initialize(mx.init.Xavier("gaussian", "in", 2.0))
    net(images)
    for parameter in net.collect_params().values():
        limits = LEARNT.get(parameter.name.rsplit("_", 1)[-1])
        if limits:
            parameter.set_data(mx.nd.array(random.uniform(*limits, parameter.shape)))
    calibrate(net, images)
    net.hybridize()
    return net


def calibrate(net, images):
    norms = []
    net.apply(lambda block: norms.append(block) if isinstance(block, mx.gluon.nn.BatchNorm) else None)
    momenta = [norm._kwargs["momentum"] for norm in norms]
    for norm in norms:
        norm._kwargs["momentum"] = 0.0
    with mx.autograd.record():
        answers = net(images)
    # on the way back, MXNet writes the statistics down
    answers.backward()
    mx.nd.waitall()
    for norm, momentum in zip(norms, momenta):  # noqa: B905 - Python 3.8
        norm._kwargs["momentum"] = momentum


def export(name, size, prefix, pictures=None, answers=None):
    if pictures:
        asked, seen = np.split(np.load(pictures), 2)
    else:
        random = np.random.RandomState(1)
        # each as bright as none of the others: what all have in common would be a variance of nothing
        brightness = random.uniform(0.3, 1, (4, 3, 1, 1))
        asked, seen = None, (brightness * random.uniform(0, 1, (4, 3, size, size))).astype("float32")
    net = built(name, mx.nd.array(seen))
    net(mx.nd.array(seen[:1]))
    net.export(prefix)
    if asked is not None:
        np.save(answers, np.stack([net(mx.nd.array(picture[None])).asnumpy() for picture in asked]))


export(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
