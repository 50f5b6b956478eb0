"""Operators on elements, along axes and on shapes."""

from case_table import CUBE, IMAGE, MATRIX, VOLUME, case, x, y


def elementwise():
    for name in ("relu", "sigmoid", "tanh", "softsign", "exp", "abs", "negative", "square", "erf", "sin", "cos"):
        case(name, lambda s, name=name: getattr(s, name)(x(s)), IMAGE)
    for name in ("floor", "ceil", "sign"):
        case(name, lambda s, name=name: getattr(s, name)(x(s)), IMAGE)
    for name in ("log", "sqrt", "rsqrt", "reciprocal"):
        case(name, lambda s, name=name: getattr(s, name)(x(s)), IMAGE, values="positive")
    for name in ("elemwise_add", "elemwise_sub", "elemwise_mul", "elemwise_div"):
        case(name, lambda s, name=name: getattr(s, name)(x(s), s.var("data1")), MATRIX, MATRIX, values="positive")
    for name in ("add", "sub", "mul", "div", "power", "maximum", "minimum"):
        case(
            f"broadcast_{name}",
            lambda s, name=name: getattr(s, f"broadcast_{name}")(x(s), s.var("data1")),
            (2, 3, 4),
            (2, 1, 4),
            values="positive",
        )
    case("plus a number", lambda s: x(s) + 2.5, MATRIX)
    case("minus a number", lambda s: x(s) - 2.5, MATRIX)
    case("a number minus", lambda s: 2.5 - x(s), MATRIX)
    case("times a number", lambda s: x(s) * 2.5, MATRIX)
    case("by a number", lambda s: x(s) / 2.5, MATRIX)
    case("a number by", lambda s: 2.5 / x(s), MATRIX, values="positive")
    case("to the power", lambda s: x(s) ** 1.5, MATRIX, values="positive")
    case("a number to the power", lambda s: s.pow(1.5, x(s)), MATRIX)
    case("at least a number", lambda s: s.maximum(x(s), 0.25), MATRIX)
    case("at most a number", lambda s: s.minimum(x(s), 0.25), MATRIX)
    case("clip", lambda s: s.clip(x(s), -0.5, 0.75), MATRIX)
    case("add_n", lambda s: s.add_n(x(s), s.var("data1"), s.var("data2")), MATRIX, MATRIX, MATRIX)
    case("cast", lambda s: s.cast(s.cast(x(s), dtype="float64"), dtype="float32"), MATRIX)


def reductions():
    for name in ("sum", "mean", "max", "min", "prod"):
        case(f"{name} of all", lambda s, name=name: getattr(s, name)(x(s)), (2, 3, 4))
        case(f"{name} keepdims", lambda s, name=name: getattr(s, name)(x(s), axis=-2, keepdims=True), (2, 3, 4))
        case(f"{name} axes", lambda s, name=name: getattr(s, name)(x(s), axis=(0, 2)), (2, 3, 4))
        case(f"{name} exclude", lambda s, name=name: getattr(s, name)(x(s), axis=1, exclude=True), (2, 3, 4))
    case("mean of all keepdims", lambda s: s.mean(x(s), keepdims=True), (2, 3, 4))
    case("sum excluding all", lambda s: s.sum(x(s), axis=(0, 1, 2), exclude=True), (2, 3, 4))


def shapes():
    case("flatten", lambda s: s.Flatten(x(s)), IMAGE)
    case("transpose", lambda s: s.transpose(x(s)), (2, 3, 4))
    case("transpose axes", lambda s: s.transpose(x(s), axes=(0, 2, 3, 1)), IMAGE)
    case("swap axes", lambda s: s.SwapAxis(x(s), dim1=1, dim2=3), IMAGE)
    for codes in ((4, 0, 2), (-1, 6), (6, 1, -1), (-2,), (2, -2), (-3, 4), (-3, -3), (0, -3), (-4, 1, 2, -2)):
        shape = (2, 3, 2, 2) if codes == (-3, -3) else (2, 3, 4)
        shape = (6, 1, 4) if codes == (6, 1, -1) else shape
        case(f"reshape {codes}", lambda s, codes=codes: s.reshape(x(s), shape=codes), shape)
    case("reshape splitting with the rest", lambda s: s.reshape(x(s), shape=(2, -4, -1, 3, -2)), (2, 12, 4))
    case("reshape from the back", lambda s: s.reshape(x(s), shape=(-1, 0), reverse=True), (10, 5, 4))
    case("reshape splitting from the back", lambda s: s.reshape(x(s), shape=(0, -1, 2, -4, 0), reverse=True), (5, 8, 3))
    case("expand dims", lambda s: s.expand_dims(x(s), axis=1), MATRIX)
    case("expand dims from the back", lambda s: s.expand_dims(x(s), axis=-1), MATRIX)
    case("squeeze", lambda s: s.squeeze(x(s)), (1, 3, 1, 4))
    case("squeeze axis", lambda s: s.squeeze(x(s), axis=2), (1, 3, 1, 4))
    case("squeeze all", lambda s: s.squeeze(x(s)), (1, 1))
    case("concat", lambda s: s.concat(x(s), s.var("data1")), (2, 3, 4), (2, 5, 4))
    case("concat last", lambda s: s.concat(x(s), s.var("data1"), dim=-1), (2, 3, 4), (2, 3, 1))
    case("stack", lambda s: s.stack(x(s), s.var("data1"), axis=1), MATRIX, MATRIX)
    case("split", lambda s: s.SliceChannel(x(s), num_outputs=2, name="op"), IMAGE)
    case("split squeezed", lambda s: s.SliceChannel(x(s), num_outputs=4, squeeze_axis=True, name="op"), IMAGE)
    case("part of a split", lambda s: s.relu(s.SliceChannel(x(s), num_outputs=4, axis=3)[2]), IMAGE)
    case("slice axis", lambda s: s.slice_axis(x(s), axis=2, begin=1, end=-2), IMAGE)
    case("slice axis to the end", lambda s: s.slice_axis(x(s), axis=-1, begin=-3, end=None), IMAGE)
    case("slice", lambda s: s.slice(x(s), begin=(0, 1), end=(1, None)), IMAGE)
    case(
        "slice backwards",
        lambda s: s.slice(x(s), begin=(None, None, 6), end=(None, None, 1), step=(1, -1, -2)),
        IMAGE,
    )
    for mode in ("constant", "edge", "reflect"):
        case(
            f"pad {mode}",
            lambda s, mode=mode: s.pad(x(s), mode=mode, pad_width=(0, 0, 0, 0, 1, 2, 3, 1), constant_value=0.5),
            IMAGE,
        )


def more_elementwise():
    for name in ("tan", "sinh", "cosh", "arctan", "arcsinh", "expm1", "cbrt", "degrees", "radians"):
        case(name, lambda s, name=name: getattr(s, name)(x(s)), IMAGE)
    for name in ("arcsin", "arccos", "arctanh", "log1p"):
        case(name, lambda s, name=name: getattr(s, name)(x(s)), IMAGE, values="unit")
    for name in ("log2", "log10", "rcbrt"):
        case(name, lambda s, name=name: getattr(s, name)(x(s)), IMAGE, values="positive")
    case("arccosh", lambda s: s.arccosh(x(s) + 1), IMAGE, values="positive")
    for name in ("round", "rint", "fix", "trunc", "floor", "ceil"):
        case(f"{name} of halves", lambda s, name=name: getattr(s, name)(x(s)), IMAGE, values="halves")
    case("hypot", lambda s: s.broadcast_hypot(x(s), y(s)), (2, 3, 4), (2, 1, 4))
    case("mod", lambda s: s.broadcast_mod(x(s), y(s)), (2, 3, 4), (2, 1, 4), values=("halves", "whole"))
    case("hypot of one shape", lambda s: s._internal._hypot(x(s), y(s)), MATRIX, MATRIX)
    case("hypot with a number", lambda s: s._internal._hypot_scalar(x(s), scalar=1.5), MATRIX)
    case("mod of one shape", lambda s: s._internal._mod(x(s), y(s)), MATRIX, MATRIX, values=("halves", "whole"))
    for number in (2.5, -1.5):
        case(f"mod {number}", lambda s, number=number: x(s) % number, MATRIX, values="halves")
    case("a number mod", lambda s: 7.5 % x(s), MATRIX, values="whole")
    case("mod of integers", lambda s: s.cast(s.cast(x(s), dtype="int32") % 3, dtype="float32"), MATRIX, values="whole")
    case("elementwise power", lambda s: x(s) ** y(s), MATRIX, MATRIX, values="positive")
    case("elementwise maximum", lambda s: s.maximum(x(s), y(s)), MATRIX, MATRIX)
    case("elementwise minimum", lambda s: s.minimum(x(s), y(s)), MATRIX, MATRIX)
    case("quadratic", lambda s: s.contrib.quadratic(x(s), a=1.5, b=-2, c=0.5), MATRIX)
    case("amp cast", lambda s: s.amp_cast(s.amp_cast(x(s), dtype="float16"), dtype="float32"), MATRIX, values="halves")
    case(
        "amp multicast",
        lambda s: s.amp_multicast(x(s), s.cast(y(s), dtype="float16"), num_outputs=2, name="op"),
        MATRIX,
        MATRIX,
    )


def comparisons():
    for name in ("equal", "not_equal", "greater", "greater_equal", "lesser", "lesser_equal"):
        case(
            f"broadcast {name}",
            lambda s, name=name: getattr(s, f"broadcast_{name}")(x(s), y(s)),
            (2, 3, 4),
            (2, 1, 4),
            values="whole",
        )
    case("same shape comparison", lambda s: x(s) > y(s), MATRIX, MATRIX, values="whole")
    for name, symbol in {
        "equal": lambda s: x(s) == 1,
        "not equal": lambda s: x(s) != 1,
        "greater": lambda s: x(s) > 1,
        "at least": lambda s: x(s) >= 1,
        "less": lambda s: x(s) < 1,
        "at most": lambda s: x(s) <= 1,
    }.items():
        case(f"is {name} a number", symbol, MATRIX, values="whole")
    for name in ("equal", "not_equal", "greater", "greater_equal", "lesser", "lesser_equal"):
        case(
            f"{name} of one shape",
            lambda s, name=name: getattr(s._internal, f"_{name}")(x(s), y(s)),
            MATRIX,
            MATRIX,
            values="whole",
        )
    for name in ("and", "or", "xor"):
        case(
            f"logical {name} of one shape",
            lambda s, name=name: getattr(s._internal, f"_logical_{name}")(x(s), y(s)),
            MATRIX,
            MATRIX,
            values="choices",
        )
        case(
            f"logical {name} a number",
            lambda s, name=name: getattr(s._internal, f"_logical_{name}_scalar")(x(s), scalar=2),
            MATRIX,
            values="choices",
        )
        case(
            f"logical {name}",
            lambda s, name=name: getattr(s, f"broadcast_logical_{name}")(x(s), y(s)),
            MATRIX,
            (1, 6),
            values="choices",
        )
    case("logical not", lambda s: s.logical_not(x(s)), MATRIX, values="choices")
    case(
        "where",
        lambda s: s.where(x(s), y(s), s.var("data2")),
        MATRIX,
        MATRIX,
        MATRIX,
        values=("choices", "normal", "normal"),
    )
    case(
        "where by row",
        lambda s: s.where(x(s), y(s), s.var("data2")),
        (3,),
        MATRIX,
        MATRIX,
        values=("choices", "normal", "normal"),
    )


def more_reductions():
    for name in ("nansum", "nanprod"):
        case(name, lambda s, name=name: getattr(s, name)(s.log(x(s)), axis=1), MATRIX)
    for order in (1, 2):
        case(f"norm {order}", lambda s, order=order: s.norm(x(s), ord=order), CUBE)
        case(f"norm {order} axis", lambda s, order=order: s.norm(x(s), ord=order, axis=1, keepdims=True), CUBE)
        case(f"norm {order} axes", lambda s, order=order: s.norm(x(s), ord=order, axis=(0, 2)), CUBE)
    case("moments", lambda s: s.moments(x(s), axes=(0, 2), name="op"), CUBE)
    case("moments keepdims", lambda s: s.moments(x(s), axes=(1,), keepdims=True, name="op"), CUBE)
    case("cumsum", lambda s: s.cumsum(x(s), axis=1), CUBE)
    case("cumsum of all", lambda s: s.cumsum(x(s)), CUBE)


def created():
    case("arange", lambda s: s.broadcast_add(x(s), s.arange(6)), MATRIX)
    case("arange in steps", lambda s: s.broadcast_add(x(s), s.arange(1, 2.5, 0.5, repeat=2)), MATRIX)
    case("arange like an axis", _counted, MATRIX)
    case("arange like all", lambda s: s.contrib.arange_like(x(s), start=1, step=0.5), MATRIX)
    case("zeros", lambda s: s.broadcast_add(x(s), s.zeros((3, 6))), MATRIX)
    case("zeros of an inferred size", lambda s: x(s) + s.zeros((0, 6)), MATRIX)
    case("ones", lambda s: s.broadcast_add(x(s), s.ones((1, 6))), MATRIX)
    case("full", lambda s: s.broadcast_add(x(s), s.full((1, 6), 2.5)), MATRIX)
    case("eye", lambda s: s.dot(x(s), s.eye(6, 5, k=1)), MATRIX)
    case("linspace", lambda s: s.broadcast_add(x(s), s.linspace(0, 1, 6)), MATRIX)
    case("zeros like", lambda s: s.zeros_like(x(s)), MATRIX)
    case("ones like", _one_more, MATRIX)
    case("shape array", lambda s: s.shape_array(s.relu(x(s))), CUBE)
    case("size array", lambda s: s.size_array(s.relu(x(s))), CUBE)


def _counted(s):
    data = x(s)
    return s.broadcast_add(data, s.contrib.arange_like(data, axis=1))


def _one_more(s):
    data = x(s)
    return s.ones_like(data) + data


def expansions():
    case("tile", lambda s: s.tile(x(s), reps=(2, 3)), MATRIX)
    case("tile of fewer", lambda s: s.tile(x(s), reps=(3,)), CUBE)
    case("tile of more", lambda s: s.tile(x(s), reps=(2, 1, 1, 2)), CUBE)
    case("repeat", lambda s: s.repeat(x(s), repeats=3, axis=1), CUBE)
    case("repeat all", lambda s: s.repeat(x(s), repeats=2), CUBE)
    case("broadcast to", lambda s: s.broadcast_to(x(s), shape=(2, 0, 5)), (1, 3, 1))
    case("broadcast axis", lambda s: s.broadcast_axis(x(s), axis=(0, 2), size=(2, 5)), (1, 3, 1))
    case("broadcast like", lambda s: s.broadcast_like(x(s), y(s)), (1, 3, 1), CUBE)
    case(
        "broadcast like along axes",
        lambda s: s.broadcast_like(x(s), y(s), lhs_axes=(0, -1), rhs_axes=(1, 0)),
        (1, 3, 1),
        (5, 7),
    )


def more_shapes():
    case("split_v2 sections", lambda s: s.split_v2(x(s), 2, axis=1), IMAGE)
    case("split_v2 indices", lambda s: s.split_v2(x(s), (1, 3), axis=2), IMAGE)
    case("split_v2 squeezed", lambda s: s.split_v2(x(s), 4, axis=1, squeeze_axis=True), IMAGE)
    case("slice like", lambda s: s.slice_like(x(s), y(s)), (4, 5), (2, 3))
    case("slice like along axes", lambda s: s.slice_like(x(s), y(s), axes=(-1, 0)), CUBE, (1, 9, 2))
    case("reshape like", lambda s: s.reshape_like(x(s), y(s)), CUBE, (6, 4))
    case(
        "reshape like in part",
        lambda s: s.reshape_like(x(s), y(s), lhs_begin=0, lhs_end=2, rhs_begin=1, rhs_end=3),
        (6, 2, 4),
        (9, 3, 4, 7),
    )
    case("depth to space", lambda s: s.depth_to_space(x(s), 2), (1, 8, 3, 5))
    case("space to depth", lambda s: s.space_to_depth(x(s), 2), (1, 2, 4, 6))
    case("flip", lambda s: s.flip(x(s), axis=(0, 2)), CUBE)
    case("crop to a size", lambda s: s.Crop(x(s), h_w=(4, 5), offset=(2, 1), num_args=1), IMAGE)
    case("crop the centre", lambda s: s.Crop(x(s), h_w=(4, 5), center_crop=True, num_args=1), IMAGE)
    case("crop like", lambda s: s.Crop(x(s), y(s), num_args=2), IMAGE, (1, 2, 5, 6))
    for mode in ("edge", "reflect"):
        case(
            f"pad {mode} of a volume",
            lambda s, mode=mode: s.pad(x(s), mode=mode, pad_width=(0, 0, 0, 0, 1, 2, 3, 1, 0, 2)),
            VOLUME,
        )


def products():
    case("dot", lambda s: s.dot(x(s), y(s)), (3, 4), (4, 5))
    case("dot of vectors", lambda s: s.dot(x(s), y(s)), (4,), (4,))
    case("dot of ranks", lambda s: s.dot(x(s), y(s)), (2, 3, 4), (4, 5, 6))
    case("dot with a vector", lambda s: s.dot(x(s), y(s)), (2, 3, 4), (4,))
    case("dot transposed", lambda s: s.dot(x(s), y(s), transpose_a=True, transpose_b=True), (4, 3), (5, 4))
    case(
        "dot of ranks transposed", lambda s: s.dot(x(s), y(s), transpose_a=True, transpose_b=True), (4, 2, 3), (5, 6, 4)
    )
    case(
        "batch dot of both", lambda s: s.batch_dot(x(s), y(s), transpose_a=True, transpose_b=True), (2, 4, 3), (2, 5, 4)
    )
    case("gemm2", lambda s: s.linalg.gemm2(x(s), y(s), transpose_b=True, alpha=0.5), (2, 3, 4), (2, 5, 4))
    case(
        "gemm",
        lambda s: s.linalg.gemm(x(s), y(s), s.var("data2"), transpose_a=True, alpha=2, beta=0.5),
        (2, 4, 3),
        (2, 4, 5),
        (2, 3, 5),
    )
    case("syrk", lambda s: s.linalg.syrk(x(s), alpha=0.5), (2, 3, 4))
    case("syrk transposed", lambda s: s.linalg.syrk(x(s), transpose=True), (2, 3, 4))


GROUPS = (
    *(elementwise, reductions, shapes, more_elementwise, comparisons, more_reductions, created),
    *(expansions, more_shapes, products),
)
