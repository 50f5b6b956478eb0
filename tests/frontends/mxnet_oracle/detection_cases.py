"""Anchors, boxes, regions, and images sampled at other places."""

from case_table import IMAGE, case, x, y


def anchors():
    case("anchors", lambda s: s.contrib.MultiBoxPrior(x(s)), (1, 2, 3, 5))
    case(
        "anchors of sizes and ratios",
        lambda s: s.contrib.MultiBoxPrior(
            x(s), sizes=(0.2, 0.35), ratios=(1, 2, 0.5), steps=(0.25, 0.2), offsets=(0.4, 0.6), clip=True
        ),
        (1, 2, 3, 5),
    )
    for kind in ("center", "corner"):
        case(
            f"box decode {kind}",
            lambda s, kind=kind: s.contrib.box_decode(
                x(s), y(s), std0=0.1, std1=0.2, std2=0.3, std3=0.4, clip=0.2, format=kind
            ),
            (2, 6, 4),
            (1, 6, 4),
            values=("normal", "boxes"),
        )
        case(
            f"box iou {kind}",
            lambda s, kind=kind: s.contrib.box_iou(x(s), y(s), format=kind),
            (2, 6, 4),
            (5, 4),
            values="boxes",
        )
    case(
        "box decode without a limit",
        lambda s: s.contrib.box_decode(x(s), y(s)),
        (2, 6, 4),
        (1, 6, 4),
        values=("normal", "boxes"),
    )


def detections():
    for options in (
        {},
        {"nms_threshold": 0.3, "threshold": 0.4},
        {"force_suppress": True},
        {"nms_topk": 5, "clip": False},
        {"nms_topk": 40, "variances": (0.2, 0.1, 0.3, 0.1)},
        {"nms_threshold": -1, "threshold": 0.5},
        {"threshold": 5},
    ):
        case(
            f"detection {options}",
            lambda s, options=options: s.contrib.MultiBoxDetection(
                s.softmax(x(s), axis=1), y(s), s.var("data2"), name="op", **options
            ),
            (2, 4, 30),
            (2, 120),
            (1, 30, 4),
            values=("normal", "normal", "boxes"),
        )
    for options in (
        {},
        {"id_index": 0},
        {"id_index": 0, "force_suppress": True, "overlap_thresh": 0.3},
        {"id_index": 0, "background_id": 0, "valid_thresh": 0.4},
        {"id_index": 0, "topk": 8},
        {"id_index": 0, "in_format": "center", "out_format": "corner"},
        {"out_format": "center"},
        {"valid_thresh": 2},
    ):
        case(
            f"box nms {options}",
            lambda s, options=options: s.contrib.box_nms(x(s), name="op", **options),
            (2, 20, 6),
            values="detections",
        )
    case("box nms of one image", lambda s: s.contrib.box_nms(x(s), id_index=0, name="op"), (20, 6), values="detections")
    case(
        "box nms of four dimensions",
        lambda s: s.contrib.box_nms(x(s), id_index=0, name="op"),
        (2, 2, 9, 6),
        values="detections",
    )


def regions():
    for name, symbol in {
        "roi pooling": lambda s: s.ROIPooling(x(s), y(s), pooled_size=(3, 2), spatial_scale=1.0),
        "roi pooling scaled": lambda s: s.ROIPooling(x(s), y(s), pooled_size=(2, 2), spatial_scale=0.5),
        "roi align": lambda s: s.contrib.ROIAlign(x(s), y(s), pooled_size=(3, 2), spatial_scale=1.0),
        "roi align sampled": lambda s: s.contrib.ROIAlign(
            x(s), y(s), pooled_size=(2, 2), spatial_scale=0.5, sample_ratio=2
        ),
        "roi align aligned": lambda s: s.contrib.ROIAlign(
            x(s), y(s), pooled_size=(3, 3), spatial_scale=0.7, sample_ratio=2, aligned=True
        ),
        "roi align of a channel for every bin": lambda s: s.contrib.ROIAlign(
            x(s), y(s), pooled_size=(1, 2), spatial_scale=1.0, sample_ratio=2, position_sensitive=True
        ),
    }.items():
        case(name, symbol, IMAGE, (6, 5), values=("normal", "regions"))


def sensitive_regions():
    for options in (
        {"output_dim": 4, "pooled_size": 1, "spatial_scale": 1.0},
        {"output_dim": 2, "pooled_size": 2, "spatial_scale": 0.9},
        {"output_dim": 2, "pooled_size": 3, "group_size": 2, "spatial_scale": 0.4},
    ):
        channels = options["output_dim"] * options.get("group_size", options["pooled_size"]) ** 2
        case(
            f"psroi {options}",
            lambda s, options=options: s.contrib.PSROIPooling(x(s), y(s), **options),
            (2, channels, 9, 8),
            (6, 5),
            values=("normal", "regions"),
        )


def proposals():
    options = {"feature_stride": 8, "scales": (1, 2), "ratios": (0.5, 1, 2), "rpn_min_size": 5}
    for more in (
        {"rpn_post_nms_top_n": 6, "output_score": True},
        {"rpn_post_nms_top_n": 20, "rpn_pre_nms_top_n": 40, "threshold": 0.3},
        {"rpn_post_nms_top_n": 5, "iou_loss": True},
        # all of them, again and again
        {"rpn_post_nms_top_n": 12, "rpn_pre_nms_top_n": 6, "threshold": 0.2, "output_score": True},
    ):
        case(
            f"proposal {more}",
            lambda s, more=more: s.contrib.Proposal(x(s), y(s), s.var("data2"), name="op", **options, **more),
            (1, 12, 7, 8),
            (1, 24, 7, 8),
            (1, 3),
            values=("distinct", "unit", "image sizes"),
        )
    case(
        "proposals for a batch",
        lambda s: s.contrib.MultiProposal(
            x(s), y(s), s.var("data2"), rpn_post_nms_top_n=6, output_score=True, name="op", **options
        ),
        (2, 12, 7, 8),
        (2, 24, 7, 8),
        (2, 3),
        values=("distinct", "unit", "image sizes"),
    )


def resizes():
    for aligned in (True, False):
        for size in ((18, 16), (5, 3), (1, 1), (9, 20)):
            case(
                f"bilinear resize {size} aligned {aligned}",
                lambda s, size=size, aligned=aligned: s.contrib.BilinearResize2D(
                    x(s), height=size[0], width=size[1], align_corners=aligned
                ),
                IMAGE,
            )
    case(
        "bilinear resize by scale",
        lambda s: s.contrib.BilinearResize2D(x(s), scale_height=1.7, scale_width=0.6, mode="size"),
        IMAGE,
    )
    case(
        "bilinear resize odd scale",
        lambda s: s.contrib.BilinearResize2D(x(s), scale_height=2, scale_width=1.5, mode="odd_scale"),
        IMAGE,
    )
    case("bilinear resize like", lambda s: s.contrib.BilinearResize2D(x(s), y(s), mode="like"), IMAGE, (1, 1, 5, 6))
    for mode in ("to_even_down", "to_even_up", "to_odd_down", "to_odd_up"):
        case(
            f"bilinear resize {mode}",
            lambda s, mode=mode: s.contrib.BilinearResize2D(x(s), mode=mode),
            IMAGE,
        )
    case("bilinear sampler", lambda s: s.BilinearSampler(x(s), y(s)), IMAGE, (2, 2, 5, 6), values=("normal", "normal"))
    case("affine grid", lambda s: s.GridGenerator(x(s), transform_type="affine", target_shape=(3, 4)), (2, 6))
    case("warped grid", lambda s: s.GridGenerator(x(s), transform_type="warp"), (2, 2, 5, 6))
    case(
        "spatial transformer",
        lambda s: s.SpatialTransformer(
            x(s), y(s), target_shape=(5, 6), transform_type="affine", sampler_type="bilinear"
        ),
        IMAGE,
        (2, 6),
        values=("normal", "unit"),
    )


GROUPS = (anchors, detections, regions, sensitive_regions, proposals, resizes)
