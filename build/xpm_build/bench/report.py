"""What a run found, as JSON, as a Markdown table and as a chart."""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from xpm_build.bench.speed import Measured, Results

_OURS = "xpm int4/128"
_REFERENCE = "llama.cpp"


def write_report(results: Results, out: Path) -> list[Path]:
    """Write speed.json, speed.md and, where matplotlib is installed, speed.png; return what was written."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "speed.json").write_text(json.dumps(asdict(results), indent=1) + "\n")
    (out / "speed.md").write_text(markdown(results))
    written = [out / "speed.json", out / "speed.md"]
    try:
        chart(results, out / "speed.png")
        written.append(out / "speed.png")
    except ImportError:
        pass
    return written


def markdown(results: Results) -> str:
    """A table per case, medians with the middle half of what was measured, and ratios to llama.cpp in the same run."""
    machine = results.machine
    bandwidth, matmul = median(results.bandwidth), median(results.matmul)
    head = [
        "case",
        "program",
        "prefill tok/s",
        "x llama.cpp",
        "decode tok/s",
        "x llama.cpp",
        "of bandwidth bound",
        "load, attach ms",
        "MB resident",
    ]
    lines = [
        f"{results.model}; {machine['processor']}, {machine['threads']} threads; prompt of {results.prompt_tokens} "
        f"tokens, {results.decode_tokens} tokens decoded behind it, greedily; programs took turns.",
        f"{_versions(machine['versions'])}.",
        f"Memory is read at {bandwidth / 1e9:.1f} GB/s ({_spread([b / 1e9 for b in results.bandwidth])}), float32 "
        f"matrices multiplied at {matmul / 1e9:.0f} G multiply-adds/s.",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    for case, programs in results.measured.items():
        reference = programs.get(_REFERENCE)
        for name, measured in programs.items():
            lines.append(f"| {case} | {name} | {_row(results, measured, reference, name, case, bandwidth)} |")
    sizes = f"{max(8, results.prompt_tokens // 4)} + {2 * results.decode_tokens} tokens each"
    lines += [
        "",
        f"| eight requests, eight compositions, {sizes} | tok/s at once | one at a time | ratio |",
        "|---|---|---|---|",
    ]
    for name, (together, alone) in results.together.items():
        lines.append(f"| {name} | {together:.0f} | {alone:.0f} | {together / alone:.2f} |")
    lines += ["", *(f"- {name}: {m.facts.get('what', '')}" for name, m in results.measured["base"].items()), ""]
    return "\n".join(lines)


def _row(
    results: Results, measured: Measured, reference: Measured | None, name: str, case: str, bandwidth: float
) -> str:
    prefill = [1e3 * results.prompt_tokens / ms for ms in measured.prefill_ms]
    decode = [1e3 / ms for ms in measured.decode_ms]
    times = ["", ""]
    if reference is not None:
        times = [
            f"{median(reference.prefill_ms) / median(measured.prefill_ms):.2f}",
            f"{median(reference.decode_ms) / median(measured.decode_ms):.2f}",
        ]
    weights = next((size for key, size in results.weight_bytes.items() if name.startswith(key)), 0)
    share = f"{median(decode) * weights / bandwidth:.0%}" if weights and case == "base" else ""
    facts = measured.facts
    return " | ".join(
        [
            f"{median(prefill):.0f} ({_spread(prefill)})",
            times[0],
            f"{median(decode):.1f} ({_spread(decode)})",
            times[1],
            share,
            f"{facts['load_ms']:.0f}, {facts['attach_ms']:.0f}",
            f"{facts['rss_mb']:.0f}",
        ]
    )


def chart(results: Results, path: Path) -> None:
    """Decoded tokens per second, by case and program."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = list(results.measured)
    programs = list(results.measured[cases[0]])
    figure, axes = pyplot.subplots(figsize=(9, 4.2), layout="constrained")
    width = 0.8 / len(programs)
    for number, name in enumerate(programs):
        heights = [median(1e3 / ms for ms in results.measured[case][name].decode_ms) for case in cases]
        places = [place + (number - (len(programs) - 1) / 2) * width for place in range(len(cases))]
        bars = axes.bar(places, heights, width * 0.92, label=name)
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
    axes.set_xticks(range(len(cases)), cases)
    axes.set_ylabel("tokens per second, one request")
    axes.set_title(f"{results.model}, {results.machine['threads']} CPU threads")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _spread(values: list[float]) -> str:
    if len(values) < 2:
        return "one measurement"
    low, _, high = quantiles(values, n=4, method="inclusive")
    return f"{low:.0f}-{high:.0f}"


def _versions(versions: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())
