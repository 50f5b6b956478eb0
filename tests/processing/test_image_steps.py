"""Each step before the model, against Pillow or torch, and against its own numpy reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neo.errors import UsageError
from neo.processing.image.state import Image
from tests.processing.runs import image_step, run_image_steps

PIL_Image = pytest.importorskip("PIL.Image")
SIZES = [((48, 64), (25, 34)), ((33, 17), (50, 64)), ((101, 41), (23, 60)), ((20, 20), (20, 20))]
PIL_FILTERS = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "nearest": "NEAREST"}


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, channels)).astype(np.uint8)


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float = 2e-4) -> bool:
    return bool(np.abs(actual.astype(np.float64) - expected).max() <= tolerance * max(np.abs(expected).max(), 1))


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("name", PIL_FILTERS)
def test_resizing_with_antialias_is_pillows_but_for_rounding(
    before: tuple[int, int], after: tuple[int, int], name: str
) -> None:
    pixels = picture(*before) // 2 + 64  # a cubic's overshoot, which Pillow cuts off after each pass, stays in range
    step = image_step(do="resize", size=list(after), filter=name)
    actual, expected, _ = run_image_steps([step], pixels, Image(1, *before, "RGB"))
    assert close(actual, expected)
    mode = getattr(PIL_Image.Resampling, PIL_FILTERS[name])
    pil = np.asarray(PIL_Image.fromarray(pixels[0]).resize(after[::-1], mode))
    off = np.abs(actual[0] - pil.astype(np.float32))
    assert off.max() <= (0 if name == "nearest" else 1.3)  # Pillow rounds after each of the two passes
    assert off.mean() <= 0.4


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("antialias", [True, False])
def test_bilinear_resizing_is_torchs(
    before: tuple[int, int], after: tuple[int, int], layout: str, antialias: bool
) -> None:
    torch = pytest.importorskip("torch")
    pixels = picture(*before)
    pixels = pixels if layout == "NHWC" else pixels.transpose(0, 3, 1, 2)
    step = image_step(do="resize", size=list(after), antialias=antialias)
    actual, expected, _ = run_image_steps([step], pixels, Image(1, *before, "RGB", layout))
    assert close(actual, expected)
    planes = torch.from_numpy(picture(*before).transpose(0, 3, 1, 2)).float()
    wanted = torch.nn.functional.interpolate(planes, size=after, mode="bilinear", antialias=antialias).numpy()
    assert close(actual if layout == "NCHW" else actual.transpose(0, 3, 1, 2), wanted)


@settings(max_examples=40, deadline=None)
@given(
    before=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    after=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    name=st.sampled_from(["bilinear", "bicubic", "nearest"]),
    layout=st.sampled_from(["NHWC", "NCHW"]),
    batch=st.integers(1, 3),
)
def test_any_size_can_become_any_other(
    before: tuple[int, int], after: tuple[int, int], name: str, layout: str, batch: int
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, Image(batch, *before, "RGB", layout).shape).astype(np.uint8)
    steps = [image_step(do="resize", size=list(after), filter=name)]
    actual, expected, _ = run_image_steps(steps, pixels, Image(batch, *before, "RGB", layout))
    assert close(actual, expected)


@pytest.mark.parametrize(
    ("before", "shortest", "after"), [((480, 640), 256, (256, 341)), ((7, 3), 5, (11, 5)), ((9, 9), 4, (4, 4))]
)
def test_the_longer_side_keeps_the_proportions_rounded_down(
    before: tuple[int, int], shortest: int, after: tuple[int, int]
) -> None:
    state = image_step(do="resize", shortest=shortest).after(Image(1, *before, "RGB"))
    assert (state.height, state.width) == after


@pytest.mark.parametrize(("before", "after"), [((7, 8), (4, 4)), ((9, 9), (4, 6)), ((5, 11), (2, 4)), ((6, 6), (6, 6))])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_the_middle_is_where_torchvision_has_it(before: tuple[int, int], after: tuple[int, int], layout: str) -> None:
    pixels = picture(*before)
    laid_out = pixels if layout == "NHWC" else pixels.transpose(0, 3, 1, 2)
    start = Image(1, *before, "RGB", layout)
    actual, expected, _ = run_image_steps([image_step(do="crop", size=list(after))], laid_out, start)
    assert np.array_equal(actual, expected)
    top, left = round((before[0] - after[0]) / 2.0), round((before[1] - after[1]) / 2.0)
    wanted = pixels[:, top : top + after[0], left : left + after[1]]
    assert np.array_equal(actual if layout == "NHWC" else actual.transpose(0, 2, 3, 1), wanted)


@pytest.mark.parametrize("before", [(48, 64), (64, 48), (32, 32), (5, 90)])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_a_letterbox_keeps_proportions_within_a_border(before: tuple[int, int], layout: str) -> None:
    pixels = np.full((1, *before, 3), 200, np.uint8)
    pixels = pixels if layout == "NHWC" else pixels.transpose(0, 3, 1, 2)
    step = image_step(do="letterbox", size=[32, 32])
    actual, expected, _ = run_image_steps([step], pixels, Image(1, *before, "RGB", layout))
    assert close(actual, expected)
    plane = actual[0, :, :, 0] if layout == "NHWC" else actual[0, 0]
    inside = np.argwhere(np.abs(plane - 200) < 1)
    ratio = min(32 / before[0], 32 / before[1])
    height, width = round(before[0] * ratio), round(before[1] * ratio)
    assert tuple(inside.max(axis=0) - inside.min(axis=0) + 1) == (height, width)
    assert tuple(inside.min(axis=0)) == ((32 - height) // 2, (32 - width) // 2)
    assert np.isclose(plane, 114).sum() == 32 * 32 - height * width


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_grey_is_pillows_luma(layout: str, order: str) -> None:
    rgb = picture(6, 7)
    pixels = rgb if order == "RGB" else rgb[..., ::-1]
    pixels = np.ascontiguousarray(pixels if layout == "NHWC" else pixels.transpose(0, 3, 1, 2))
    actual, expected, state = run_image_steps(
        [image_step(do="channels", to="GRAY")], pixels, Image(1, 6, 7, order, layout)
    )
    assert close(actual, expected)
    assert state.channels == 1
    pil = np.asarray(PIL_Image.fromarray(rgb[0]).convert("L"), np.float32)
    assert np.abs(actual.reshape(6, 7) - pil).max() <= 0.51


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(("start", "to"), [("RGB", "BGR"), ("BGR", "RGB"), ("GRAY", "RGB"), ("GRAY", "GRAY")])
def test_channels_change_places_or_are_repeated(layout: str, start: str, to: str) -> None:
    pixels = picture(4, 5, 1 if start == "GRAY" else 3)
    laid_out = np.ascontiguousarray(pixels if layout == "NHWC" else pixels.transpose(0, 3, 1, 2))
    actual, expected, _ = run_image_steps([image_step(do="channels", to=to)], laid_out, Image(1, 4, 5, start, layout))
    assert np.array_equal(actual, expected)
    last = actual if layout == "NHWC" else actual.transpose(0, 2, 3, 1)
    wanted = pixels if start == to else pixels[..., ::-1] if start != "GRAY" else np.concatenate([pixels] * 3, axis=3)
    assert np.array_equal(last, wanted)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_the_imagenet_recipe_is_what_torch_computes(layout: str) -> None:
    torch = pytest.importorskip("torch")
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    numbers = [
        image_step(do="scale", divide_by=255),
        image_step(do="normalise", mean=mean, std=std),
    ]
    move = image_step(do="layout", to="NCHW")
    first = [image_step(do="resize", shortest=36), image_step(do="crop", size=32)]
    steps = [*first, *numbers, move] if layout == "NHWC" else [move, *first, *numbers]
    pixels = picture(40, 60)
    actual, expected, state = run_image_steps(steps, pixels, Image(1, 40, 60, "RGB"))
    assert state.shape == (1, 3, 32, 32)
    assert close(actual, expected)
    planes = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float()
    planes = torch.nn.functional.interpolate(planes, size=(36, 54), mode="bilinear", antialias=True)
    planes = planes[:, :, 2:34, 11:43] / 255
    wanted = (planes - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
    assert close(actual, wanted.numpy())


@pytest.mark.parametrize("dtype", ["float16", "uint8", "float32"])
def test_a_cast_gives_the_models_dtype(dtype: str) -> None:
    steps = [image_step(do="resize", size=[5, 6]), image_step(do="cast", dtype=dtype)]
    actual, expected, _ = run_image_steps(steps, picture(9, 9), Image(1, 9, 9, "RGB"))
    assert str(actual.dtype) == dtype
    assert np.abs(actual.astype(np.float64) - expected).max() <= {"uint8": 1, "float16": 0.2, "float32": 1e-2}[dtype]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"do": "crop", "size": 50}, "only 32x32"),
        ({"do": "normalise", "mean": [1, 2], "std": 1}, "mean has 2 numbers"),
        ({"do": "layout", "to": "NHWC"}, "NHWC there already"),
    ],
)
def test_a_step_that_does_not_fit_says_why(step: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        image_step(**step).after(Image(1, 32, 32, "RGB"))
    assert raised.value.hint
