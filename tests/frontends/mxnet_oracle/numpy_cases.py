"""What a model written with mxnet.np and mxnet.npx has."""

from case_table import CUBE, IMAGE, MATRIX, case


def add(name, symbol, *shapes, values="normal"):
    """symbol: builds from MXNet's symbol namespace and the inputs as numpy's symbols."""
    title = f"np {name}"
    count = len(shapes)

    def build(s):
        names = ["data", *(f"data{number}" for number in range(1, count))]
        return symbol(s, *(s.var(one).as_np_ndarray() for one in names))

    case(title, build, *shapes, values=values, numpy=True)


def arithmetic():
    for name in ("exp", "tanh", "abs", "square", "sign", "negative", "sin", "rint", "fix", "floor", "ceil", "cbrt"):
        add(name, lambda s, x, name=name: getattr(s.np, name)(x), MATRIX, values="halves")
    for name in ("arctan", "arcsinh", "cos", "cosh", "sinh", "tan", "degrees", "radians", "expm1", "trunc", "around"):
        add(name, lambda s, x, name=name: getattr(s.np, name)(x), MATRIX, values="halves")
    for name in ("arccos", "arcsin", "arctanh", "log1p"):
        add(name, lambda s, x, name=name: getattr(s.np, name)(x), MATRIX, values="unit")
    for name in ("isfinite", "isinf", "isnan", "logical_not"):
        add(f"{name} of roots", lambda s, x, name=name: getattr(s.np, name)(1 / s.np.sqrt(x)), MATRIX, values="whole")
    add("arccosh", lambda s, x: s.np.arccosh(x + 1), MATRIX, values="positive")
    add("mod of two", lambda s, x, y: s.np.mod(x, y), CUBE, (3, 1), values=("halves", "whole"))
    add("a number mod", lambda _, x: 7.5 % x, MATRIX, values="whole")
    add("minus a number", lambda _, x: x - 2, MATRIX)
    for name in ("log", "sqrt", "reciprocal", "log2", "log10"):
        add(name, lambda s, x, name=name: getattr(s.np, name)(x), MATRIX, values="positive")
    for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "hypot"):
        add(name, lambda s, x, y, name=name: getattr(s.np, name)(x, y), CUBE, (3, 1), values="positive")
    for name in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal"):
        add(name, lambda s, x, y, name=name: getattr(s.np, name)(x, y), CUBE, (3, 1), values="whole")
        add(f"{name} a number", lambda s, x, name=name: getattr(s.np, name)(x, 1), CUBE, values="whole")
    add("with numbers", lambda _, x: 2 - (x * 3 + 1) / 4, MATRIX)
    add("a number by", lambda _, x: 2 / x, MATRIX, values="positive")
    add("power of a number", lambda _, x: 2**x + x**2, MATRIX)
    add("mod", lambda _, x: x % 2, MATRIX, values="halves")
    add("integers by a number", lambda _, x: x / 2, MATRIX, values="integers")
    add("integers plus a fraction", lambda _, x: x + 0.5, MATRIX, values="integers")
    add("clip", lambda s, x: s.np.clip(x, -1, 1), MATRIX)
    add("where", lambda s, x, y: s.np.where(x > 0, x, y), CUBE, (3, 1))
    add("where with a number", lambda s, x: s.np.where(x > 0, x, 0.5), CUBE)
    add("where of a number", lambda s, x: s.np.where(x > 0, 0.5, x), CUBE)
    add("isnan", lambda s, x: s.np.isnan(s.np.log(x)), CUBE)
    add("activations", lambda s, x: s.npx.relu(x) + s.npx.sigmoid(x) + s.npx.leaky_relu(x, act_type="gelu"), MATRIX)
    add("softmax", lambda s, x: s.npx.softmax(x, axis=1) + s.npx.log_softmax(x), CUBE)


def reductions():
    for name in ("sum", "prod", "max", "min", "mean", "std", "var"):
        add(f"{name} of all", lambda s, x, name=name: getattr(s.np, name)(x), CUBE)
        add(f"{name} axis", lambda s, x, name=name: getattr(s.np, name)(x, axis=-1), CUBE)
        add(f"{name} keepdims", lambda s, x, name=name: getattr(s.np, name)(x, axis=(0, 2), keepdims=True), CUBE)
    add("a number goes on", lambda s, x: x - s.np.mean(x) * 2, CUBE)
    add("mean of integers", lambda s, x: s.np.mean(x, axis=0), CUBE, values="integers")
    add("var with ddof", lambda s, x: s.np.var(x, axis=1, ddof=1), CUBE)
    for name in ("argmax", "argmin"):
        add(f"{name} axis", lambda s, x, name=name: getattr(s.np, name)(x, axis=1), CUBE)
        add(f"{name} of all", lambda s, x, name=name: getattr(s.np, name)(x), CUBE)
    add("cumsum", lambda s, x: s.np.cumsum(x, axis=1), CUBE)
    add("sort", lambda s, x: s.np.sort(x, axis=1), CUBE)


def shapes():
    add("reshape", lambda s, x: s.np.reshape(x, (-1, 4)), CUBE)
    for codes in ((-2, -1), (-4,), (-5, -4), (-2, -6, 1, 3, -4), (-6, -1, 1, -4)):
        add(f"reshape {codes}", lambda s, x, codes=codes: s.npx.reshape(x, codes), CUBE)
    add("reshape leaving out", lambda s, x: s.npx.reshape(x, (-2, -3, -2)), (2, 1, 4))
    add("transpose", lambda s, x: s.np.transpose(x), CUBE)
    add("transpose axes", lambda s, x: s.np.transpose(x, (1, 0, 2)), CUBE)
    add("swapaxes", lambda s, x: s.np.swapaxes(x, 0, 2), CUBE)
    add("moveaxis", lambda s, x: s.np.moveaxis(x, 0, -1), CUBE)
    add("squeeze", lambda s, x: s.np.squeeze(x), (1, 3, 1))
    add("squeeze all", lambda s, x: s.np.squeeze(x), (1, 1))
    add("expand dims", lambda s, x: s.np.expand_dims(x, 1), CUBE)
    add("concatenate", lambda s, x, y: s.np.concatenate([x, y], axis=1), (2, 3), (2, 4))
    add("stack", lambda s, x, y: s.np.stack([x, y], axis=-1), MATRIX, MATRIX)
    add("vstack", lambda s, x, y: s.np.vstack([x, y]), (4,), (4,))
    add("split", lambda s, x: s.np.split(x, 2, axis=2)[1], CUBE)
    add("broadcast to", lambda s, x: s.np.broadcast_to(x, (5, 2, 3)), (2, 1))
    add("tile", lambda s, x: s.np.tile(x, (2, 1, 2)), (2, 3))
    add("repeat", lambda s, x: s.np.repeat(x, 2, axis=1), CUBE)
    add("flip", lambda s, x: s.np.flip(x, 1), CUBE)
    add("pad", lambda s, x: s.np.pad(x, ((0, 0), (1, 2), (3, 0)), mode="constant"), CUBE)
    add("slices", lambda _, x: x[1:, :, :2] + x[0, 1, 1:3], CUBE)
    add("eye", lambda s, x: s.np.dot(x, s.np.eye(4, 5, 1)), (3, 4))
    add("identity", lambda s, x: s.np.dot(x, s.np.identity(4)), (3, 4))
    add("full like", lambda s, x: s.np.full_like(x, 2.5), (3, 4))
    add("copy", lambda s, x: s.np.copy(s.np.exp(x)), (3, 4))
    add("all", lambda s, x: s.np.all(x, axis=1), CUBE, values="choices")
    add("any", lambda s, x: s.np.any(x), CUBE, values="choices")
    add("created", lambda s, x: x + s.np.ones((4,)) + s.np.arange(4) - s.np.zeros((3, 1)) + s.np.full((4,), 2.5), CUBE)
    add("arange like", lambda s, x: s.npx.arange_like(x, axis=1), CUBE)


def products():
    add("dot", lambda s, x, y: s.np.dot(x, y), (2, 3), (3, 4))
    add("dot of vectors", lambda s, x, y: s.np.dot(x, y), (3,), (3,))
    add("dot of ranks", lambda s, x, y: s.np.dot(x, y), (2, 5, 3), (4, 3, 2))
    add("matmul", lambda s, x, y: s.np.matmul(x, y), (2, 5, 3), (3, 2))
    add("tensordot", lambda s, x, y: s.np.tensordot(x, y, 2), (5, 3, 4), (3, 4, 2))
    add("einsum", lambda s, x, y: s.np.einsum("bij,bjk->bik", x, y), (2, 5, 3), (2, 3, 4))
    add("batch dot", lambda s, x, y: s.npx.batch_dot(x, y, transpose_b=True), (2, 5, 3), (2, 4, 3))


def indices():
    add("take", lambda s, x, y: s.np.take(x, y, axis=0), (7, 3), (4,), values=("normal", "indices"))
    add("one hot", lambda s, x: s.npx.one_hot(x, 5), (2, 3), values="integers")
    add("pick", lambda s, x, y: s.npx.pick(x, y), MATRIX, (3,), values=("normal", "indices"))
    add("topk", lambda s, x: s.npx.topk(x, k=2, ret_typ="value"), CUBE)


def weight(s, name, shape):
    return s.var(f"op_{name}", shape=shape).as_np_ndarray()


def layers():
    add("layer norm", lambda s, x: s.npx.layer_norm(x, weight(s, "gamma", (4,)), weight(s, "beta", (4,))), CUBE)
    add(
        "convolution",
        lambda s, x: s.npx.convolution(x, weight(s, "weight", (5, 4, 3, 3)), kernel=(3, 3), num_filter=5, no_bias=True),
        IMAGE,
    )
    add(
        "dense",
        lambda s, x: s.npx.fully_connected(x, weight(s, "weight", (5, 6)), weight(s, "bias", (5,)), num_hidden=5),
        MATRIX,
    )


def layouts():
    for rank in (1, 2, 3):
        name = f"atleast_{rank}d"
        for shape in ((), (4,), MATRIX, CUBE):
            add(f"{name} of {shape}", lambda s, x, name=name: getattr(s.np, name)(x), shape)
    for shape in ((4,), MATRIX):
        add(f"columns of {len(shape)} dimensions", lambda s, x, y: s.np.column_stack([x, y]), shape, shape)
    add("roll", lambda s, x: s.np.roll(x, 2, axis=1), CUBE)
    add("roll of several axes", lambda s, x: s.np.roll(x, (1, -1), axis=(0, 2)), CUBE)
    add("roll of all", lambda s, x: s.np.roll(x, 5), CUBE)
    for turns in range(4):
        add(f"rot90 {turns}", lambda s, x, turns=turns: s.np.rot90(x, turns, axes=(0, 2)), CUBE)
    add("diff", lambda s, x: s.np.diff(x), CUBE)
    add("diff twice", lambda s, x: s.np.diff(x, n=2, axis=1), CUBE)
    for offset in (-1, 0, 2):
        add(f"diag {offset}", lambda s, x, offset=offset: s.np.diag(x, k=offset), MATRIX)
        add(f"diag of a vector {offset}", lambda s, x, offset=offset: s.np.diag(x, k=offset), (4,))
        add(f"tril {offset}", lambda s, x, offset=offset: s.np.tril(x, k=offset), CUBE)
    add("diagonal", lambda s, x: s.np.diagonal(x, offset=1, axis1=2, axis2=0), CUBE)
    add("trace", lambda s, x: s.np.trace(x, offset=-1, axis1=1, axis2=2), CUBE)


def points():
    add("arctan2", lambda s, x, y: s.np.arctan2(x, y), CUBE, (3, 1), values="whole")
    add("copysign", lambda s, x, y: s.np.copysign(x, y), CUBE, (3, 1), values="halves")
    for name in ("isposinf", "isneginf", "nan_to_num"):
        add(f"{name} of quotients", lambda s, x, y, name=name: getattr(s.np, name)(x / y), CUBE, CUBE, values="whole")
    add(
        "nan_to_num of one's own",
        lambda s, x, y: s.np.nan_to_num(x / y, nan=3, posinf=7, neginf=-8),
        CUBE,
        CUBE,
        values="whole",
    )


GROUPS = (arithmetic, reductions, shapes, products, indices, layers, layouts, points)
