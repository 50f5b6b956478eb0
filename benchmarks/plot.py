"""The latency results as a picture: how many times as fast as the fastest peer every engine is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import Case, Contender
from neo.errors import MissingDependency

# ours in strong colours, peers in greys; readable without colour by their order in the legend
COLOURS = {"tvm": "#d95f02", "neo-ort": "#7570b3", "ort": "#555555", "openvino": "#aaaaaa"}
COLOURS |= {"tvm-bf16": "#e7298a", "openvino-bf16": "#cccccc"}
WIDTH_PER_MODEL_INCHES = 0.9
DOTS_PER_INCH = 120
TICKS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10)


def plot_latency(cases: Sequence[Case], who: Sequence[Contender], path: Path) -> None:
    """A PNG: one panel per number of threads and precision. Raises MissingDependency without matplotlib."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise MissingDependency("--plot needs matplotlib", hint="pip install 'neo-edge[bench]'") from error
    precisions = dict.fromkeys(contender.precision for contender in who)
    panels = [(threads, precision) for precision in precisions for threads in sorted({case.threads for case in cases})]
    models = list(dict.fromkeys(case.model for case in cases))
    size = (3 + WIDTH_PER_MODEL_INCHES * len(models), 3.6 * len(panels))
    figure, axes = plt.subplots(len(panels), 1, figsize=size, squeeze=False, layout="constrained")
    for (threads, precision), axis in zip(panels, axes[:, 0], strict=True):
        these_who = [contender for contender in who if contender.precision == precision]
        names = [contender.name for contender in these_who]
        peers = [contender.name for contender in these_who if not contender.engine]
        these = {case.model: case for case in cases if case.threads == threads}
        for index, name in enumerate(names):
            speeds = [these[model].ratio([name], peers) if model in these else None for model in models]
            places = [place + (index - (len(names) - 1) / 2) * 0.8 / len(names) for place in range(len(models))]
            # bars stand on the fastest peer, or hang from it; an engine that is out leaves its place empty
            heights = [float("nan") if speed is None else speed - 1 for speed in speeds]
            axis.bar(places, heights, 0.8 / len(names), bottom=1, label=name, color=COLOURS.get(name))
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_yscale("log")
        low, high = axis.get_ylim()
        ticks = [tick for tick in TICKS if low <= tick <= high]
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
        axis.set_xticks(range(len(models)), models, rotation=30, ha="right")
        axis.set_ylabel("times the fastest peer")
        axis.set_title(f"{precision}, batch 1, {threads} thread{'s' if threads > 1 else ''}")
        axis.legend(loc="upper left", ncols=len(names))
    figure.savefig(path, dpi=DOTS_PER_INCH)
    plt.close(figure)
