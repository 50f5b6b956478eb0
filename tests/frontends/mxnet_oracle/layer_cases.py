"""Layers, and graphs of several operators."""

from case_table import IMAGE, MATRIX, SEQUENCE, VOLUME, case, x, y


def convolutions():
    case("conv", lambda s: s.Convolution(x(s), kernel=(3, 3), num_filter=6, name="op"), IMAGE)
    case(
        "conv strided padded dilated no bias",
        lambda s: s.Convolution(
            x(s), kernel=(3, 2), stride=(2, 1), pad=(2, 1), dilate=(2, 1), num_filter=6, no_bias=True, name="op"
        ),
        IMAGE,
    )
    case("conv grouped", lambda s: s.Convolution(x(s), kernel=(3, 3), num_filter=6, num_group=2, name="op"), IMAGE)
    case("conv depthwise", lambda s: s.Convolution(x(s), kernel=(3, 3), num_filter=4, num_group=4, name="op"), IMAGE)
    case("conv 1d", lambda s: s.Convolution(x(s), kernel=(3,), pad=(1,), num_filter=5, name="op"), SEQUENCE)
    case("conv 3d", lambda s: s.Convolution(x(s), kernel=(2, 3, 3), stride=(1, 2, 1), num_filter=3, name="op"), VOLUME)
    case("deconv", lambda s: s.Deconvolution(x(s), kernel=(3, 3), num_filter=6, name="op"), IMAGE)
    case(
        "deconv strided padded adjusted grouped with bias",
        lambda s: s.Deconvolution(
            x(s),
            kernel=(4, 3),
            stride=(2, 3),
            pad=(1, 1),
            adj=(1, 2),
            num_filter=6,
            num_group=2,
            no_bias=False,
            name="op",
        ),
        IMAGE,
    )
    case(
        "deconv dilated", lambda s: s.Deconvolution(x(s), kernel=(3, 3), dilate=(2, 2), num_filter=2, name="op"), IMAGE
    )
    case(
        "deconv to a target shape",
        lambda s: s.Deconvolution(x(s), kernel=(4, 4), stride=(2, 2), target_shape=(18, 14), num_filter=3, name="op"),
        IMAGE,
    )
    case("deconv 1d", lambda s: s.Deconvolution(x(s), kernel=(4,), stride=(2,), num_filter=3, name="op"), SEQUENCE)
    case("upsampling nearest", lambda s: s.UpSampling(x(s), scale=3, sample_type="nearest"), IMAGE)
    case(
        "upsampling several to one size",
        lambda s: s.UpSampling(x(s), s.var("data1"), scale=2, sample_type="nearest", num_args=2),
        (1, 2, 4, 6),
        (1, 3, 2, 3),
    )
    case(
        "upsampling summed",
        lambda s: s.UpSampling(
            x(s), s.var("data1"), scale=2, sample_type="nearest", num_args=2, multi_input_mode="sum"
        ),
        (1, 2, 4, 6),
        (1, 2, 2, 3),
    )
    for scale in (2, 3):
        case(
            f"upsampling bilinear by {scale}",
            lambda s, scale=scale: s.UpSampling(
                x(s), s.var("op_weight"), scale=scale, sample_type="bilinear", num_filter=4, num_args=2
            ),
            IMAGE,
        )


def poolings():
    for kind in ("max", "avg", "sum", "lp"):
        for convention in ("valid", "full"):
            for pad in ((0, 0), (1, 1)):
                case(
                    f"pool {kind} {convention} pad {pad[0]}",
                    lambda s, kind=kind, convention=convention, pad=pad: s.Pooling(
                        x(s),
                        kernel=(3, 3),
                        stride=(2, 3),
                        pad=pad,
                        pool_type=kind,
                        pooling_convention=convention,
                        p_value=2 if kind == "lp" else None,
                    ),
                    IMAGE,
                )
    for convention in ("valid", "full"):
        case(
            f"pool avg {convention} without its padding",
            lambda s, convention=convention: s.Pooling(
                x(s),
                kernel=(3, 3),
                stride=(2, 2),
                pad=(1, 1),
                pool_type="avg",
                pooling_convention=convention,
                count_include_pad=False,
            ),
            IMAGE,
        )
        case(
            f"pool avg {convention} with a large stride",
            lambda s, convention=convention: s.Pooling(
                x(s), kernel=(2, 2), stride=(3, 3), pad=(1, 1), pool_type="avg", pooling_convention=convention
            ),
            (1, 2, 9, 8),
        )
        case(
            f"pool max 3d {convention}",
            lambda s, convention=convention: s.Pooling(
                x(s), kernel=(2, 3, 3), stride=(2, 2, 2), pool_type="max", pooling_convention=convention
            ),
            VOLUME,
        )
    case("pool sum as lp 1", lambda s: s.Pooling(x(s), kernel=(2, 2), pool_type="lp", p_value=1), IMAGE)
    case("pool 1d avg", lambda s: s.Pooling(x(s), kernel=(3,), stride=(2,), pad=(1,), pool_type="avg"), SEQUENCE)
    case(
        "pool 1d same",
        lambda s: s.Pooling(x(s), kernel=(3,), stride=(2,), pad=(0, 0, 0), pool_type="max", pooling_convention="same"),
        SEQUENCE,
    )
    for kind in ("max", "avg", "sum"):
        case(
            f"pool global {kind}",
            lambda s, kind=kind: s.Pooling(x(s), kernel=(3, 3), pad=(1, 1), pool_type=kind, global_pool=True),
            IMAGE,
        )
    case("pool global lp", lambda s: s.Pooling(x(s), pool_type="lp", p_value=2, global_pool=True), IMAGE)
    case("adaptive pool to 1", lambda s: s.contrib.AdaptiveAvgPooling2D(x(s)), IMAGE)
    case("adaptive pool to divisors", lambda s: s.contrib.AdaptiveAvgPooling2D(x(s), output_size=(3, 4)), IMAGE)
    case("adaptive pool to others", lambda s: s.contrib.AdaptiveAvgPooling2D(x(s), output_size=(4, 11)), IMAGE)
    case("adaptive pool square", lambda s: s.contrib.AdaptiveAvgPooling2D(x(s), output_size=2), IMAGE)


def normalisations():
    case("batch norm fixed gamma", lambda s: s.BatchNorm(x(s), name="op"), IMAGE)
    case("batch norm", lambda s: s.BatchNorm(x(s), fix_gamma=False, eps=1e-5, name="op"), IMAGE)
    case(
        "batch norm global statistics",
        lambda s: s.BatchNorm(x(s), fix_gamma=False, use_global_stats=True, name="op"),
        IMAGE,
    )
    case("batch norm last axis", lambda s: s.BatchNorm(x(s), fix_gamma=False, axis=-1, name="op"), IMAGE)
    case("batch norm of a matrix", lambda s: s.BatchNorm(x(s), fix_gamma=False, name="op"), MATRIX)
    case("layer norm", lambda s: s.LayerNorm(x(s), name="op"), (2, 3, 5))
    case("layer norm axis 1", lambda s: s.LayerNorm(x(s), axis=1, eps=0.01, name="op"), (2, 3, 5))
    case("instance norm", lambda s: s.InstanceNorm(x(s), eps=0.01, name="op"), IMAGE)
    case("lrn", lambda s: s.LRN(x(s), nsize=3, alpha=0.1, beta=0.6, knorm=1.5), (1, 7, 4, 4))
    for mode in ("instance", "channel", "spatial"):
        case(f"l2 norm {mode}", lambda s, mode=mode: s.L2Normalization(x(s), mode=mode, eps=0.1), IMAGE)


def activations():
    for kind in ("relu", "sigmoid", "tanh", "softrelu", "softsign"):
        case(f"activation {kind}", lambda s, kind=kind: s.Activation(x(s), act_type=kind), IMAGE)
    for kind in ("leaky", "elu", "selu", "gelu", "rrelu"):
        case(f"leaky relu {kind}", lambda s, kind=kind: s.LeakyReLU(x(s), act_type=kind)[0], IMAGE)
    case("leaky relu slope", lambda s: s.LeakyReLU(x(s), act_type="leaky", slope=0.03), IMAGE)
    case("elu slope", lambda s: s.LeakyReLU(x(s), act_type="elu", slope=0.7), IMAGE)
    for shape in (IMAGE, MATRIX, SEQUENCE):
        case(f"prelu of rank {len(shape)}", lambda s: s.LeakyReLU(x(s), act_type="prelu", name="op"), shape)
    case(
        "prelu with one slope",
        lambda s: s.LeakyReLU(x(s), s.var("op_gamma", shape=(1,)), act_type="prelu", name="op"),
        IMAGE,
    )
    case("hard sigmoid", lambda s: s.hard_sigmoid(x(s)), IMAGE)
    case("softmax", lambda s: s.softmax(x(s)), MATRIX)
    case("softmax axis and temperature", lambda s: s.softmax(x(s), axis=1, temperature=2.5), IMAGE)
    case("log softmax", lambda s: s.log_softmax(x(s), axis=1), IMAGE)
    case("softmax activation", lambda s: s.SoftmaxActivation(x(s)), MATRIX)
    case("softmax activation of an image", lambda s: s.SoftmaxActivation(x(s)), IMAGE)
    case("softmax activation by channel", lambda s: s.SoftmaxActivation(x(s), mode="channel"), IMAGE)
    case("softmax output", lambda s: s.SoftmaxOutput(x(s), name="softmax"), MATRIX)
    case("softmax output of an image", lambda s: s.SoftmaxOutput(x(s), name="softmax"), IMAGE)
    case("softmax output multi", lambda s: s.SoftmaxOutput(x(s), multi_output=True, name="softmax"), IMAGE)
    case("softmax output preserving", lambda s: s.SoftmaxOutput(x(s), preserve_shape=True, name="softmax"), IMAGE)
    case("linear regression output", lambda s: s.LinearRegressionOutput(x(s), name="lro"), MATRIX)
    case("logistic regression output", lambda s: s.LogisticRegressionOutput(x(s), name="lro"), MATRIX)
    case("dropout", lambda s: s.Dropout(x(s), p=0.7), MATRIX)
    for name in ("identity", "BlockGrad", "make_loss", "MakeLoss"):
        case(name, lambda s, name=name: getattr(s, name)(x(s)), MATRIX)


def dense():
    case("dense", lambda s: s.FullyConnected(x(s), num_hidden=5, name="op"), MATRIX)
    case("dense of an image", lambda s: s.FullyConnected(x(s), num_hidden=5, name="op"), IMAGE)
    case("dense no bias", lambda s: s.FullyConnected(x(s), num_hidden=5, no_bias=True, name="op"), IMAGE)
    case("dense not flat", lambda s: s.FullyConnected(x(s), num_hidden=5, flatten=False, name="op"), (2, 3, 7))
    case(
        "dense not flat no bias",
        lambda s: s.FullyConnected(x(s), num_hidden=5, flatten=False, no_bias=True, name="op"),
        (2, 3, 7),
    )
    case("embedding", lambda s: s.Embedding(x(s), input_dim=7, output_dim=3, name="op"), (2, 5), values="indices")
    case(
        "batch dot",
        lambda s: s.batch_dot(x(s), s.var("data1"), transpose_b=True),
        (2, 3, 4),
        (2, 5, 4),
    )


def graphs():
    case("several outputs", _several_outputs, MATRIX)
    case("an output that is read too", _output_read_too, MATRIX)
    case("one tensor as two outputs", _one_tensor_two_outputs, MATRIX)
    case("an input passed through", lambda s: s.identity(x(s), name="same"), MATRIX)
    case("a parameter as an output", lambda s: s.Group([s.identity(s.var("op_bias", shape=(3,))), s.exp(x(s))]), MATRIX)
    case("one weight twice", _one_weight_twice, MATRIX)
    case("residual block", _residual_block, IMAGE)


def _several_outputs(s):
    data = x(s)
    return s.Group([s.relu(data, name="a"), s.relu(s.exp(data), name="b")])


def _output_read_too(s):
    first = s.exp(x(s), name="a")
    return s.Group([first, s.relu(first, name="b")])


def _one_tensor_two_outputs(s):
    first = s.exp(x(s), name="a")
    return s.Group([first, s.identity(first, name="b")])


def _one_weight_twice(s):
    weight = s.var("op_weight")
    hidden = s.FullyConnected(x(s), weight, num_hidden=6, no_bias=True)
    return s.FullyConnected(hidden, weight, num_hidden=6, no_bias=True)


def _residual_block(s):
    data = x(s)
    hidden = s.Convolution(data, kernel=(3, 3), pad=(1, 1), num_filter=4, name="c")
    return s.relu(s.BatchNorm(hidden, name="b") + data)


def more_layers():
    case("layer norm with its moments", lambda s: s.LayerNorm(x(s), output_mean_var=True, name="op"), (2, 3, 5))
    for groups in (1, 2, 4):
        case(f"group norm {groups}", lambda s, groups=groups: s.GroupNorm(x(s), num_groups=groups, name="op"), IMAGE)
    case("group norm of a sequence", lambda s: s.GroupNorm(x(s), num_groups=2, eps=0.01, name="op"), SEQUENCE)
    case("instance norm of a volume", lambda s: s.InstanceNorm(x(s), name="op"), VOLUME)
    case("lrn default", lambda s: s.LRN(x(s), nsize=5), (1, 7, 4, 4))
    case("smooth l1", lambda s: s.smooth_l1(x(s), scalar=1.5), IMAGE)
    case("mae regression output", lambda s: s.MAERegressionOutput(x(s), name="mae"), MATRIX)
    case(
        "batch norm with relu",
        lambda s: s.contrib.BatchNormWithReLU(x(s), fix_gamma=False, name="op"),
        IMAGE,
        onednn=True,
    )
    case("old batch norm", lambda s: s.BatchNorm_v1(x(s), fix_gamma=False, name="op"), IMAGE)
    case("sync batch norm", lambda s: s.contrib.SyncBatchNorm(x(s), fix_gamma=False, key="k", name="op"), IMAGE)
    case("gradient multiplier", lambda s: s.contrib.gradientmultiplier(x(s), scalar=0.5), MATRIX)
    case("svm output", lambda s: s.SVMOutput(x(s), name="svm"), MATRIX)
    case("softmin", lambda s: s.softmin(x(s), axis=1, temperature=0.5), IMAGE)
    case("softmax in double", lambda s: s.softmax(x(s), dtype="float64"), MATRIX)
    for axis in (-1, 1):
        case(
            f"softmax of lengths axis {axis}",
            lambda s, axis=axis: s.softmax(x(s), s.cast(y(s), dtype="int32"), axis=axis, use_length=True),
            (2, 5, 6),
            (2, 5) if axis == -1 else (2, 6),
            values=("normal", "lengths"),
        )
    case("old conv", lambda s: s.Convolution_v1(x(s), kernel=(3, 3), num_filter=6, name="op"), IMAGE)
    for kind in ("max", "avg", "sum"):
        for convention in ("valid", "full"):
            case(
                f"old pool {kind} {convention}",
                lambda s, kind=kind, convention=convention: s.Pooling_v1(
                    x(s), kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type=kind, pooling_convention=convention
                ),
                IMAGE,
            )
    case("pool 3d avg", lambda s: s.Pooling(x(s), kernel=(2, 3, 3), pad=(1, 1, 1), pool_type="avg"), VOLUME)
    case("pool 3d sum", lambda s: s.Pooling(x(s), kernel=(2, 3, 3), pool_type="sum"), VOLUME)
    case("pool 1d lp", lambda s: s.Pooling(x(s), kernel=(3,), pool_type="lp", p_value=2), SEQUENCE)
    case(
        "pool 1d sum full",
        lambda s: s.Pooling(x(s), kernel=(3,), stride=(2,), pool_type="sum", pooling_convention="full"),
        SEQUENCE,
    )


GROUPS = (convolutions, poolings, normalisations, activations, dense, graphs, more_layers)
