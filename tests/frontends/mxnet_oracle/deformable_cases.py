"""Convolutions whose kernel looks where another tensor says."""

from case_table import IMAGE, case, x, y

VALUES = ("normal", "halves", "unit")


def deformable_convolutions():
    for name, options, offsets in (
        ("plain", {"kernel": (3, 3)}, (2, 18, 7, 6)),
        ("padded", {"kernel": (3, 2), "pad": (1, 1)}, (2, 12, 9, 9)),
        ("strided and dilated", {"kernel": (3, 3), "stride": (2, 1), "dilate": (1, 2)}, (2, 18, 4, 4)),
        ("in groups", {"kernel": (1, 3), "num_deformable_group": 2, "num_group": 2}, (2, 12, 9, 6)),
        ("without bias", {"kernel": (2, 2), "no_bias": True}, (2, 8, 8, 7)),
    ):
        case(
            f"deformable convolution {name}",
            lambda s, options=options: s.contrib.DeformableConvolution(x(s), y(s), num_filter=6, name="op", **options),
            IMAGE,
            offsets,
            values=VALUES,
        )
        case(
            f"modulated deformable convolution {name}",
            lambda s, options=options: s.contrib.ModulatedDeformableConvolution(
                x(s), y(s), s.var("data2"), num_filter=6, name="op", **options
            ),
            IMAGE,
            offsets,
            (2, offsets[1] // 2, *offsets[2:]),
            values=VALUES,
        )


GROUPS = (deformable_convolutions,)
