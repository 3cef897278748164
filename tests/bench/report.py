# SPDX-License-Identifier: BSD-2-Clause
"""The numbers as text: a table for the terminal, a report in Markdown."""
import profiles

UNITS = {"us": (1e-3, " us"), "ns": (1, " ns"), "MB/s": (1e-6, " MB/s"), "1/s": (1, " /s"), "x": (1, "")}
TITLES = ["workload", "plain TCP", "auto", "95 %", "p99", "CPU", "eager", "spin", "AF_UNIX", "bypass", "goals"]
LOSS = 0.97


def value_text(number, unit):
    factor, suffix = UNITS[unit]
    scaled = number * factor
    digits = 0 if scaled >= 1000 else 1 if scaled >= 10 else 2
    return f"{scaled:.{digits}f}{suffix}"


def ratio_text(ratio, interval=False):
    if not ratio:
        return "-"
    return f"{ratio['low']:.2f}..{ratio['high']:.2f}" if interval else f"{ratio['value']:.3f}"


def main_arm(summary):
    """The arm whose interval and tail the table shows."""
    others = [name for name in summary["arms"] if name not in ("plain", "again")]
    return "auto" if "auto" in others else others[0] if others else "plain"


def goal_text(goal):
    if goal["met"] is None:
        return ""
    return f"{goal['goal']}: {'met' if goal['met'] else 'MISSED'} ({goal['number']:.3f})"


def shown_goals(summary):
    """The floor is named only where it is missed."""
    return [goal_text(goal) for goal in summary["goals"]
            if goal["met"] is not None and not (goal["met"] and goal["goal"].startswith("speed"))]


def row_of(summary):
    arms, main = summary["arms"], main_arm(summary)
    ratio = {name: arm.get("ratio") for name, arm in arms.items()}
    return [summary["name"] + (f" ({main})" if main != "auto" else ""), value_text(arms["plain"]["value"], summary["unit"]),
            ratio_text(ratio.get(main)), ratio_text(ratio.get(main), True), ratio_text(arms[main].get("tail_ratio")),
            ratio_text(arms[main].get("cpu_ratio")), *(ratio_text(ratio.get(n)) for n in ("eager", "spin", "unix", "bypass")),
            "; ".join(shown_goals(summary))]


def ratios_line(summary):
    """One line of progress."""
    arms = summary["arms"]
    parts = [f"plain {value_text(arms['plain']['value'], summary['unit'])}"]
    parts += [f"{name} {ratio_text(arm.get('ratio'))}" for name, arm in arms.items() if name != "plain"]
    return ", ".join(parts + [text for text in shown_goals(summary) if "MISSED" in text])


def conditions(whole):
    foreign = [summary["foreign_threads"] for summary in whole["workloads"]]
    busy = f"; {max(foreign):.1f} other threads wanted a CPU at the worst workload" if foreign else ""
    return (f"{whole['rounds']} rounds (palindromes of the arms) of {whole['seconds']} s runs, servers longer; ratios to plain "
            f"TCP, median over the rounds: of a time less is better, of a rate more; Linux {whole['kernel']}, {whole['cpus']} "
            f"CPUs, {whole['took_s']} s{busy}")


def terminal(whole):
    rows = [row_of(summary) for summary in whole["workloads"]]
    used = [i for i in range(len(TITLES)) if i < 3 or any(row[i] not in ("-", "") for row in rows)]
    widths = {i: max(len(row[i]) for row in [TITLES, *rows]) for i in used}
    last = used[-1]
    lines = ["  ".join(row[i].ljust(widths[i]) if i in (0, len(TITLES) - 1) else row[i].rjust(widths[i])
                       for i in used).rstrip() for row in [TITLES, *rows]] if last else []
    return "\n".join([*lines, "", conditions(whole), *(f"FAILED: {text}" for text in whole["failures"])])


def markdown_table(titles, rows):
    yield "| " + " | ".join(titles) + " |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield "| " + " | ".join(text or " " for text in row) + " |"


def losses(whole):
    for summary in whole["workloads"]:
        for name, arm in summary["arms"].items():
            ratio = arm.get("ratio")
            if name not in ("auto", "eager", "spin", "watched") or not ratio:
                continue
            speed = ratio["value"] if summary["more"] else 1 / ratio["value"]
            if speed < LOSS:
                sure = ratio["high"] < LOSS if summary["more"] else ratio["low"] > 1 / LOSS
                yield [summary["name"], name, f"{speed:.3f}", f"{ratio['low']:.3f}..{ratio['high']:.3f}",
                       ratio_text(arm.get("cpu_ratio")), str(summary["foreign_threads"]), "yes" if sure else "no: the interval reaches 0.97"]


def helper_text(arm):
    each = f", {arm['helper_us_a_join']:.1f} us a join" if "helper_us_a_join" in arm else ""
    return f"{arm['helper_cpu_ns'] / 1e6:.1f} ms{each}"


def detail_rows(summary):
    for name, arm in summary["arms"].items():
        times = [value_text(arm[key], "us") if key in arm else "-" for key in ("p99_ns", "p999_ns", "max_ns", "cpu_ns")]
        yield [name, value_text(arm["value"], summary["unit"]), ratio_text(arm.get("ratio")),
               ratio_text(arm.get("ratio"), True), *times, ratio_text(arm.get("cpu_ratio")),
               f"{arm['redirected_bytes'] / 2**20:.1f} MiB", helper_text(arm)]


def profile_lines(summary):
    """Where the CPU time of an operation goes; nothing where no profile was taken."""
    for title, rows in (("part", profiles.rows(summary, "parts")), ("function that differs most from plain TCP", profiles.symbols_that_differ(summary))):
        if rows:
            yield from markdown_table([f"{title}, ns/op", *summary["profiles"]], [[row[0], *(f"{ns:.0f}" for ns in row[1:])] for row in rows])
            yield ""


def markdown(whole):
    lines = ["# smaccel: benchmark", "", conditions(whole) + ".", "", "## Ratios", ""]
    lines += markdown_table(TITLES, [row_of(summary) for summary in whole["workloads"]])
    lines += ["", "95 %, p99 and CPU (time of all processes but the helper, per operation) are of the arm auto.", "",
              f"## Losses: speed below {LOSS} of plain TCP", ""]
    lines += markdown_table(["workload", "arm", "speed", "95 % of the ratio", "CPU ratio", "other threads", "sure"], list(losses(whole)))
    lines += ["", *(f"FAILED: {text}" for text in whole["failures"]), "", "## Every arm", "",
              "max: of all runs; the other numbers are medians of the runs.", ""]
    for summary in whole["workloads"]:
        lines += [f"### {summary['name']}", "", f"Other threads that wanted a CPU as runs began: {summary['foreign_threads']}.", ""]
        lines += markdown_table(["arm", summary["measure"], "ratio", "95 %", "p99", "p99.9", "max", "CPU/op", "CPU ratio",
                                 "redirected", "helper's CPU"], list(detail_rows(summary)))
        lines += ["", *profile_lines(summary)]
    return "\n".join(lines)
