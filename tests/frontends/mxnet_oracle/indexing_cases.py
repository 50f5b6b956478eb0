"""Elements chosen by indices, order, and sequences of different lengths."""

from case_table import CUBE, IMAGE, MATRIX, case, x, y


def indices():
    case("take", lambda s: s.take(x(s), y(s)), (7, 3), (2, 5), values=("normal", "indices"))
    case("take clipped", lambda s: s.take(x(s), y(s), axis=1), (2, 4, 3), (5,), values=("normal", "indices"))
    case(
        "take wrapped",
        lambda s: s.take(x(s), y(s), axis=-1, mode="wrap"),
        (2, 4, 3),
        (2, 2),
        values=("normal", "whole"),
    )
    case("pick", lambda s: s.pick(x(s), y(s)), MATRIX, (3,), values=("normal", "indices"))
    case("pick wrapped", lambda s: s.pick(x(s), y(s), mode="wrap"), MATRIX, (3,), values=("normal", "whole"))
    case(
        "pick along an axis",
        lambda s: s.pick(x(s), y(s), axis=1, keepdims=True),
        CUBE,
        (2, 4),
        values=("normal", "choices"),
    )
    case("batch take", lambda s: s.batch_take(x(s), y(s)), MATRIX, (3,), values=("normal", "integers"))
    case("gather nd", lambda s: s.gather_nd(x(s), y(s)), CUBE, (2, 5), values=("normal", "choices"))
    case("gather nd of parts", lambda s: s.gather_nd(x(s), y(s)), CUBE, (2, 2, 3), values=("normal", "choices"))
    case(
        "scatter nd",
        lambda s: s.scatter_nd(x(s), s.reshape(s.arange(4), shape=(2, 2)), shape=(5, 6, 3)),
        (2, 3),
    )
    case("one hot", lambda s: s.one_hot(x(s), depth=5), (2, 3), values="indices")
    case("one hot of negatives", lambda s: s.one_hot(x(s), depth=3, on_value=2, off_value=-1), (2, 9), values="whole")
    case("embedding of whole numbers", lambda s: s.Embedding(x(s), input_dim=7, output_dim=3), (4,), values="choices")
    case(
        "embedding of what is not in the table",
        lambda s: s.Embedding(x(s), input_dim=2, output_dim=3),
        (9,),
        values="halves",
    )
    case("one hot of integers", lambda s: s.one_hot(x(s), depth=4, dtype="int32"), (2, 9), values="integers")


def order():
    for kind in ("indices", "value", "mask", "both"):
        for ascending in (False, True):
            case(
                f"topk {kind} {'smallest' if ascending else 'largest'}",
                lambda s, kind=kind, ascending=ascending: s.topk(
                    x(s), k=3, ret_typ=kind, is_ascend=ascending, name="op"
                ),
                (2, 3, 7),
                values="distinct",
            )
    case(
        "topk along an axis",
        lambda s: s.topk(x(s), k=2, axis=1, ret_typ="both", dtype="int32"),
        CUBE,
        values="distinct",
    )
    case("topk of all", lambda s: s.topk(x(s), k=2, axis=None, ret_typ="value"), CUBE, values="distinct")
    case("topk mask of all", lambda s: s.topk(x(s), k=2, axis=None, ret_typ="mask"), CUBE, values="distinct")
    case("topk 0", lambda s: s.topk(x(s), k=0, ret_typ="value"), CUBE, values="distinct")
    for ascending in (False, True):
        case(f"sort {ascending}", lambda s, ascending=ascending: s.sort(x(s), is_ascend=ascending), CUBE)
        case(
            f"argsort {ascending}",
            lambda s, ascending=ascending: s.argsort(x(s), axis=1, is_ascend=ascending),
            CUBE,
            values="distinct",
        )
    case("sort all", lambda s: s.sort(x(s), axis=None), CUBE)
    case("argsort as integers", lambda s: s.argsort(x(s), dtype="int32"), CUBE, values="distinct")
    for name in ("argmax", "argmin"):
        case(f"{name} of all", lambda s, name=name: getattr(s, name)(x(s)), CUBE)
        case(f"{name} axis", lambda s, name=name: getattr(s, name)(x(s), axis=1), CUBE)
        case(f"{name} keepdims", lambda s, name=name: getattr(s, name)(x(s), axis=-1, keepdims=True), CUBE)
        case(f"{name} of equals", lambda s, name=name: getattr(s, name)(x(s), axis=1), (5, 9), values="choices")
        case(f"{name} of a vector", lambda s, name=name: getattr(s, name)(x(s), axis=0), (9,))
    case("argmax channel", lambda s: s.argmax_channel(x(s)), MATRIX)


def sequences():
    for axis in (0, 1):
        shape = (3, 2, 4) if axis == 0 else (2, 3, 4)
        for name in ("SequenceMask", "SequenceLast"):
            case(
                f"{name} axis {axis}",
                lambda s, name=name, axis=axis: getattr(s, name)(x(s), y(s), use_sequence_length=True, axis=axis),
                shape,
                (2,),
                values=("normal", "lengths"),
            )
            case(f"{name} whole axis {axis}", lambda s, name=name, axis=axis: getattr(s, name)(x(s), axis=axis), shape)
    case(
        "SequenceMask of images with a value",
        lambda s: s.SequenceMask(x(s), y(s), use_sequence_length=True, value=-1.5),
        (3, 2, *IMAGE[2:]),
        (2,),
        values=("normal", "lengths"),
    )
    case(
        "SequenceReverse",
        lambda s: s.SequenceReverse(x(s), y(s), use_sequence_length=True),
        (3, 2, 4),
        (2,),
        values=("normal", "lengths"),
    )
    case("SequenceReverse whole", lambda s: s.SequenceReverse(x(s)), (3, 2, 4))


GROUPS = (indices, order, sequences)
