# SPDX-License-Identifier: BSD-2-Clause
"""SVG plots by gnuplot: relative speed of each arm, one file a group of workloads. No gnuplot: no plots, and a note."""
import shutil
import subprocess

ARMS = ("auto", "eager", "spin", "watched", "unix", "bypass")


def speed(summary, arm):
    ratio = summary["arms"].get(arm, {}).get("ratio")
    if not ratio:
        return None
    return ratio["value"] if summary["more"] else 1 / ratio["value"]


def script(group, summaries, path):
    """A bar for each arm of each workload, plain TCP as the line at 1; logarithmic, so that 0.5 and 2 are equally far."""
    arms = [arm for arm in ARMS if any(speed(summary, arm) for summary in summaries)]
    rows = [" ".join([f'"{summary["name"]}"', *(f"{speed(summary, arm) or 1:.4f}" for arm in arms)]) for summary in summaries]
    columns = ", ".join(f'$data using {i}:xtic(1) title "{arm}"' if i == 2 else f'$data using {i} title "{arm}"'
                        for i, arm in enumerate(arms, 2))
    width = max(700, 60 * len(rows) * max(1, len(arms)) // 3 + 200)
    return f"""set terminal svg size {width},520 font "sans,11"
set output "{path}"
set title "smaccel: {group}, speed relative to plain TCP (more is better)"
set style data histogram
set style fill solid 0.8 border -1
set logscale y 2
set yrange [0.25:*]
set grid ytics
set xtics rotate by -35
set bmargin 12
set key outside top
set arrow 1 from graph 0, first 1 to graph 1, first 1 nohead front
$data << EOD
{chr(10).join(rows)}
EOD
plot {columns}
"""


def draw(whole, prefix):
    """Writes PREFIX-<group>.svg; what to say about it."""
    if not shutil.which("gnuplot"):
        return "no plots: gnuplot is not installed (Debian: gnuplot-nox)"
    done, failed = [], []
    for group in dict.fromkeys(summary["group"] for summary in whole["workloads"]):
        summaries = [s for s in whole["workloads"] if s["group"] == group and any(speed(s, arm) for arm in ARMS)]
        if not summaries:
            continue
        path = f"{prefix}-{group}.svg"
        ran = subprocess.run(["gnuplot"], input=script(group, summaries, path), text=True, capture_output=True, timeout=60)
        (failed if ran.returncode else done).append(path)
    return f"plots: {' '.join(done) or 'none'}" + (f"; gnuplot failed for {' '.join(failed)}" if failed else "")
