"""The counts and the differences as text, in Markdown's table syntax."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks.conformance.outcome import AUTO, CONVERSION, PASSED, PEER, REFUSED, WRONG, Outcome
from benchmarks.conformance.pool import Result
from benchmarks.tables import markdown_table, one_line

_NOTHING = Outcome(REFUSED, "not reached")


def summary(results: Sequence[Result], engines: Sequence[str]) -> tuple[str, bool]:
    """-> (the report, whether we pass fewer cases than ONNX Runtime alone)."""
    ours = _passed(results, AUTO)
    theirs = _passed(results, PEER)
    parts = [_counts(results, engines), *_losses(results), *_trouble(results, engines)]
    parts.append(f"ours: {ours} of {len(results)} cases; ONNX Runtime alone: {theirs}")
    return "\n\n".join(parts), ours < theirs


def _passed(results: Sequence[Result], who: str) -> int:
    return sum(result.outcomes.get(who, _NOTHING).passed for result in results)


def _counts(results: Sequence[Result], engines: Sequence[str]) -> str:
    columns = [AUTO, *engines, PEER]
    rows = []
    for kind in dict.fromkeys(result.kind for result in results):
        these = [result for result in results if result.kind == kind]
        rows.append([kind, str(len(these)), *(str(_passed(these, who)) for who in columns)])
    return markdown_table(["cases", "all", *columns], rows)


def _losses(results: Sequence[Result]) -> Iterator[str]:
    """Where ONNX Runtime passes and we do not, and the other way round."""
    lost = [r for r in results if r.outcomes.get(PEER, _NOTHING).passed and not r.outcomes[AUTO].passed]
    if lost:
        rows = [f"- {r.name}: {r.outcomes[AUTO].status}: {one_line(r.outcomes[AUTO].reason)}" for r in lost]
        yield f"## {len(lost)} cases that ONNX Runtime alone passes and we do not\n\n" + "\n".join(rows)
    won = [r.name for r in results if not r.outcomes.get(PEER, _NOTHING).passed and r.outcomes[AUTO].passed]
    if won:
        yield f"## {len(won)} cases that we pass and ONNX Runtime alone does not\n\n" + ", ".join(won)


def _trouble(results: Sequence[Result], engines: Sequence[str]) -> Iterator[str]:
    """How each engine ended; and what no compilation would notice, or what takes a process down."""
    rows = [[who, *(str(count) for count in _statuses(results, who).values())] for who in (CONVERSION, *engines, AUTO)]
    yield markdown_table(["step", *_statuses(results, AUTO)], rows)
    for engine in engines:
        bad = [
            f"- {result.name}: {outcome.status}: {one_line(outcome.reason)}"
            for result in results
            if (outcome := result.outcomes.get(engine)) and outcome.status not in {PASSED, REFUSED, "out"}
        ]
        if bad:
            yield f"## {engine}: wrong answers, crashes and hangs\n\n" + "\n".join(bad)


def _statuses(results: Sequence[Result], who: str) -> dict[str, int]:
    counted = Counter(result.outcomes[who].status for result in results if who in result.outcomes)
    return {status: counted[status] for status in (PASSED, REFUSED, "out", WRONG, "crashed", "timed out")}
