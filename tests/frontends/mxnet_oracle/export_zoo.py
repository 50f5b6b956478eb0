"""Run with MXNet: ``export_zoo.py NAME SIZE PREFIX`` exports a gluon model zoo network with random weights.

Every weight is random, also the running statistics of batch normalisations: with the usual zeros and ones a
converter that confuses them would not be found out.
"""

import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")

import mxnet as mx  # noqa: E402
from mxnet.gluon.model_zoo import vision  # noqa: E402

LOWEST_AND_HIGHEST = {"gamma": (0.8, 1.2), "beta": (-0.2, 0.2), "mean": (-0.2, 0.2), "var": (0.7, 1.4)}


def export(name, size, prefix):
    mx.random.seed(0)
    random = np.random.RandomState(0)
    net = getattr(vision, name)(classes=10)
    net.initialize(mx.init.Xavier(magnitude=2.0))
    net.hybridize()
    image = mx.nd.array(random.uniform(0, 1, (1, 3, size, size)))
    net(image)
    for parameter in net.collect_params().values():
        limits = LOWEST_AND_HIGHEST.get(parameter.name.rsplit("_", 1)[-1])
        if limits:
            parameter.set_data(mx.nd.array(random.uniform(*limits, parameter.shape)))
    net.export(prefix)


export(sys.argv[1], int(sys.argv[2]), sys.argv[3])
