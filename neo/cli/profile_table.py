"""A profile for a person: the kernels that take longest, and what is left."""

from __future__ import annotations

from typing import Any

MOST_ROWS = 20


def print_profile(console: Any, profile: dict[str, Any]) -> None:
    """profile: as ``neo.runtime.profiling.profile.Profile.to_json`` writes it, with reference and engine."""
    count, runs = f"{profile['threads']} threads", f"{profile['runs']} runs"
    console.print(f"{profile['reference']} on {profile['engine']}, {count}, {runs}", markup=False)
    console.print(_table(profile["kernels"]))
    others = profile["kernels"][MOST_ROWS:]
    if others:
        rest = sum(row["ms"] for row in others)
        console.print(f"and {len(others)} more kernels with {rest:.4f} ms; all of them with --json")
    console.print(
        f"kernels {profile['kernels_ms']:.4f} ms, whole prediction {profile['whole_ms']:.4f} ms, "
        f"difference (dispatch and copies) {profile['other_ms']:.4f} ms"
    )
    if profile["other_ms"] < 0:
        console.print(
            "below zero: in a model this small, timing a kernel costs more than dispatching it; read the shares"
        )
    roofline = profile["roofline"]
    console.print(
        f"this machine by numpy: {roofline['peak_gflops']:.1f} GFLOP/s in a float32 matrix product, "
        f"{roofline['bandwidth_gb_s']:.1f} GB/s in a large copy"
    )
    if _beats_roofline(profile["kernels"]):
        console.print("above 100 %: operands were in a cache, or the kernel is better than numpy's matrix product")


def _table(kernels: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    has_costs = any(row["gflops"] is not None for row in kernels)
    table = Table(box=None, pad_edge=False)
    table.add_column("kernel", overflow="fold")
    table.add_column("output", overflow="fold")
    numbers = ("calls", "ms", "share", *(("GFLOP/s", "GB/s", "of attainable", "limit") if has_costs else ()))
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    for row in kernels[:MOST_ROWS]:
        cells = [_name(row), " ".join("x".join(map(str, shape)) or "scalar" for shape in row["outputs"])]
        cells += [str(row["calls"]), f"{row['ms']:.4f}", f"{row['share']:.1%}"]
        if has_costs:
            cells += _costs(row)
        table.add_row(*cells)
    return table


def _name(row: dict[str, Any]) -> str:
    from rich.markup import escape

    return escape(row["name"] if row["operator"] is None else f"{row['operator']} {row['name']}")


def _costs(row: dict[str, Any]) -> list[str]:
    if row["gflops"] is None:
        return ["", "", "", ""]
    return [f"{row['gflops']:.1f}", f"{row['gb_s']:.1f}", f"{row['of_attainable']:.0%}", row["limit"]]


def _beats_roofline(kernels: list[dict[str, Any]]) -> bool:
    return any(row["of_attainable"] is not None and row["of_attainable"] > 1 for row in kernels)
