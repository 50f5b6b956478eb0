"""Results as text, in Markdown's table syntax, so that docs/performance.md holds what was printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.race import Timing
from benchmarks.results import TVM, Case, Contender, geometric_mean

NOTHING = "-"
# rounds that differ by more say that something else was running
UNSTEADY = 1.2
LONGEST_REASON = 300


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def latency_tables(cases: Sequence[Case], who: Sequence[Contender]) -> Iterator[str]:
    """Per number of threads and precision: medians and ratios; then what loading and memory cost; then who is out."""
    for threads in sorted({case.threads for case in cases}):
        these = [case for case in cases if case.threads == threads]
        for precision in dict.fromkeys(contender.precision for contender in who):
            names = [contender for contender in who if contender.precision == precision]
            yield f"## {precision}, {threads} thread{'s' if threads > 1 else ''}, median ms\n\n{_medians(these, names)}"
        yield f"## Loading, memory and parity, {threads} thread{'s' if threads > 1 else ''}\n\n{_costs(these, who)}"
    out = list(dict.fromkeys(_remarks(cases)))
    if out:
        yield "## Remarks\n\n" + "\n".join(out)


def _medians(cases: Sequence[Case], who: Sequence[Contender]) -> str:
    ours = [contender.name for contender in who if contender.engine]
    peers = [contender.name for contender in who if not contender.engine]
    names = [contender.name for contender in who]
    rows = [[case.model, *(_number(case.median_ms(name)) for name in names)] for case in cases]
    compiled = next(contender.name for contender in who if contender.engine == TVM)
    ratios = {f"peer/{compiled}": [case.ratio([compiled], peers) for case in cases]}
    if len(ours) > 1:
        ratios["peer/best of ours"] = [case.ratio(ours, peers) for case in cases]
    for index, row in enumerate(rows):
        row.extend(_ratio(column[index]) for column in ratios.values())
    means = [_ratio(geometric_mean(column)) for column in ratios.values()]
    rows.append(["geometric mean", *("" for _ in names), *means])
    covered = sum(ratio is not None for ratio in ratios[f"peer/{compiled}"])
    table = markdown_table(["model", *names, *ratios], rows)
    fastest = f"the faster of {' and '.join(peers)}" if len(peers) > 1 else peers[0]
    legend = f"peer: {fastest}. The mean of {compiled} is over {covered} of {len(cases)} models."
    return f"{table}\n\n{legend}"


def _costs(cases: Sequence[Case], who: Sequence[Contender]) -> str:
    header = ["model", "engine", "build s", "load ms", "first ms", "peak RSS MB", "max rel. error"]
    rows = []
    for case in cases:
        for contender in who:
            result = case.results.get(contender.name)
            build = case.builds.get(contender.name)
            seconds = f"{build.seconds:.1f}" if build else NOTHING
            if isinstance(result, Timing):
                times = [_number(result.load_ms), _number(result.first_ms), f"{result.peak_rss_mb:.0f}"]
                rows.append([case.model, contender.name, seconds, *times, f"{result.parity.max_rel:.1e}"])
            else:
                rows.append([case.model, contender.name, seconds, *[NOTHING] * 4])
    return markdown_table(header, rows)


def _remarks(cases: Sequence[Case]) -> Iterator[str]:
    for case in cases:
        for name, build in case.builds.items():
            yield from (f"- {case.model}, {name}: {note}" for note in build.notes)
        for name, result in case.results.items():
            if not isinstance(result, Timing):
                yield f"- {case.model}, {name} is out: {one_line(result.message)}"
            elif max(result.round_ms) > UNSTEADY * min(result.round_ms):
                span = f"{_number(min(result.round_ms))} to {_number(max(result.round_ms))}"
                yield f"- {case.model}, {name}, threads {case.threads}: unsteady, medians of the rounds {span} ms"


def one_line(message: str) -> str:
    """A compiler's words may be many: they are all in the JSON."""
    words = " ".join(message.split())
    return words if len(words) <= LONGEST_REASON else f"{words[:LONGEST_REASON]}..."


def _number(value: float | None) -> str:
    """Three significant digits, never in scientific notation."""
    if value is None:
        return NOTHING
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
