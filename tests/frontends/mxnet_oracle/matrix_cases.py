"""Diagonals and triangles of matrices, parts replaced, positions, and what is done to pictures."""

from case_table import CUBE, IMAGE, MATRIX, case, x, y


def diagonals():
    for offset in (-2, 0, 1):
        case(f"diag {offset}", lambda s, offset=offset: s.diag(x(s), k=offset), MATRIX)
        case(f"diag of a vector {offset}", lambda s, offset=offset: s.diag(x(s), k=offset), (4,))
        case(
            f"diag between axes {offset}",
            lambda s, offset=offset: s.diag(x(s), k=offset, axis1=-1, axis2=1),
            IMAGE,
        )
        for name in ("extractdiag", "makediag"):
            case(
                f"{name} {offset}",
                lambda s, name=name, offset=offset: getattr(s.linalg, name)(x(s), offset=offset),
                (2, 4, 4),
            )
    case("makediag of a vector", lambda s: s.linalg.makediag(x(s)), (4,))
    case("sumlogdiag", lambda s: s.linalg.sumlogdiag(x(s)), (2, 4, 4), values="positive")
    case("sumlogdiag of one matrix", lambda s: s.linalg.sumlogdiag(x(s)), (4, 4), values="positive")
    case("determinants", lambda s: s.linalg.det(x(s)), (2, 4, 4))
    case("determinant of one matrix", lambda s: s.linalg.det(x(s)), (4, 4))
    for options in (
        {},
        {"transpose": True, "alpha": 2},
        {"rightside": True},
        {"lower": False, "rightside": True, "transpose": True},
    ):
        case(
            f"trmm {options}",
            lambda s, options=options: s.linalg.trmm(x(s), y(s), **options),
            (2, 3, 3),
            (2, 3, 3),
        )


def assignments():
    case(
        "slice assign",
        lambda s: s._internal._slice_assign(x(s), y(s), begin=(0, None, -1), end=(2, None, None), step=(1, 2, 1)),
        CUBE,
        (2, 2, 1),
    )
    case(
        "slice assign a number",
        lambda s: s._internal._slice_assign_scalar(x(s), scalar=7.5, begin=(None, 2), end=(None, 0), step=(1, -1)),
        CUBE,
    )
    case(
        "index copy",
        lambda s: s.contrib.index_copy(x(s), s.cast(s.topk(s.var("data2"), k=3, axis=0), dtype="int32"), y(s)),
        (7, 2),
        (3, 2),
        (7,),
        values=("normal", "normal", "distinct"),
    )
    case("ravel", lambda s: s.ravel_multi_index(x(s), shape=(2, 2, 2)), (3, 5), values="choices")
    case("ravel of any length", lambda s: s.ravel_multi_index(x(s), shape=(-1, 7)), (2, 12), values="indices")
    case("unravel", lambda s: s.unravel_index(x(s), shape=(2, 3, 4)), (20,), values="distinct")
    case("unravel of any length", lambda s: s.unravel_index(x(s), shape=(-1, 3)), (12,), values="distinct")


def pictures():
    for title, shape in (("a picture", (9, 8, 3)), ("pictures", (2, 9, 8, 3))):
        case(f"{title} to tensor", lambda s: s.image.to_tensor(x(s)), shape)
        case(f"{title} crop", lambda s: s.image.crop(x(s), x=1, y=2, width=5, height=4), shape)
        first = (*shape[:-3], 3, 9, 8)
        case(
            f"{title} normalised",
            lambda s: s.image.normalize(x(s), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)),
            first,
        )
        case(f"{title} normalised alike", lambda s: s.image.normalize(x(s), mean=0.4, std=0.2), first)
    case("a picture left right", lambda s: s.image.flip_left_right(x(s)), (9, 8, 3))
    case("a picture top bottom", lambda s: s.image.flip_top_bottom(x(s)), (8, 8, 3))


GROUPS = (diagonals, assignments, pictures)
