#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Trains the model of train_text with each norm over some seeds and rates: a CSV and a picture."""
import argparse
import collections
import csv
import io
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = ("norm", "placement", "rate", "seed", "step", "train_loss", "held_out_loss",
           "step_us", "norm_us")  # the last two: the run's tenth percentile
# Okabe and Ito's colours, which the colour-blind can tell apart; the styles help where they are grey.
VARIANTS = {("rms", "pre"): ("RMSNorm, pre", "#0072B2", "-", "o"),
            ("layer", "pre"): ("LayerNorm, pre", "#E69F00", "--", "s"),
            ("rms", "post"): ("RMSNorm, post", "#009E73", "-.", "D"),
            ("none", "pre"): ("no norm", "#CC79A7", ":", "^")}


def train(program, text, norm, placement, rate, seed, steps):
    with tempfile.TemporaryDirectory() as folder:
        losses = pathlib.Path(folder) / "losses.csv"
        printed = subprocess.run(
            [program, text, "--norm", norm, "--placement", placement, "--rate", rate, "--seed",
             str(seed), "--steps", str(steps), "--csv", losses],
            check=True, stdout=subprocess.PIPE, text=True, errors="replace").stdout
        step_us, norm_us = re.search(r"an undisturbed step took ([\d.]+) us, \D+([\d.]+) us",
                                     printed).groups()
        for row in csv.DictReader(losses.read_text().splitlines()):
            yield (norm, placement, rate, seed, row["step"], round(float(row["train_loss"]), 4),
                   round(float(row["held_out_loss"]), 4), step_us, norm_us)


def measure(options):
    """All variants of a seed in turn, so that a change of the machine's load meets them all."""
    runs = [(*variant, rate, seed) for seed in range(1, options.seeds + 1)
            for rate in options.rates.split(",") for variant in VARIANTS]
    table = io.StringIO()
    table.write(f"# text: {options.text.name}, {options.text.stat().st_size} characters\n")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for i, run in enumerate(runs, 1):
        print(f"run {i} of {len(runs)}: norm {run[0]}, {run[1]}, rate {run[2]}, seed {run[3]}",
              file=sys.stderr, flush=True)
        writer.writerows(train(options.program, options.text, *run, options.steps))
    return table.getvalue()


def read(text):
    """{(variant, rate): {step: [held-out losses]}}, {variant: [(us of a step, us of its norms)]}, and
    what the text was."""
    about, _, table = text.partition("\n")
    curves = collections.defaultdict(lambda: collections.defaultdict(list))
    times = collections.defaultdict(list)
    for row in csv.DictReader(table.splitlines()):
        variant = row["norm"], row["placement"]
        curves[variant, row["rate"]][int(row["step"])].append(float(row["held_out_loss"]))
        if row["step"] == "0":
            times[variant].append((float(row["step_us"]), float(row["norm_us"])))
    return curves, times, about.removeprefix("# text: ")


def spread(values):
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def summary(times):
    """The norms' time in a step: median, least, most, and the median percent of the step."""
    norms = [norm for _, norm in times]
    percent = statistics.median(100 * norm / step for step, norm in times)
    return statistics.median(norms), min(norms), max(norms), percent


def report(curves, times):
    for (variant, rate), curve in curves.items():
        print(f"{VARIANTS[variant][0]:15} rate {rate:5}  held-out loss {spread(curve[max(curve)])}")
    for variant, of_runs in times.items():
        norms, least, most, percent = summary(of_runs)
        step = statistics.median(step for step, _ in of_runs)
        print(f"{VARIANTS[variant][0]:15} step {step:.0f} us, norms and residual adds {norms:.1f} us "
              f"({least:.1f} to {most:.1f}), {percent:.2f}%")


def draw(curves, times, about, rate):
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.4),
                                                 gridspec_kw={"width_ratios": (3, 2.2, 1.8)})
    rates = sorted({rate for _, rate in curves}, key=float)
    for variant, (name, colour, style, marker) in VARIANTS.items():
        steps = sorted(curves[variant, rate])
        seeds = [curves[variant, rate][step] for step in steps]
        left.plot(steps, list(map(statistics.mean, seeds)), color=colour, linestyle=style,
                  linewidth=2, label=name)
        left.fill_between(steps, list(map(min, seeds)), list(map(max, seeds)), color=colour,
                          alpha=0.2, linewidth=0)
        last = [curves[variant, r][max(steps)] for r in rates]
        means = list(map(statistics.mean, last))
        middle.errorbar([float(r) for r in rates], means, capsize=4,
                        yerr=[[m - min(l) for m, l in zip(means, last)],
                              [max(l) - m for m, l in zip(means, last)]],
                        color=colour, linestyle=style, marker=marker, linewidth=2)
        norms, least, most, percent = summary(times[variant])
        right.barh(name, norms, color=colour, height=0.6, xerr=[[norms - least], [most - norms]],
                   error_kw={"capsize": 4})
        right.annotate(f"{norms:.0f} us, {percent:.1f}%", (most, name), (5, 0),
                       textcoords="offset points", va="center")
    first = [loss for variant in VARIANTS for loss in curves[variant, rate][0]]
    end = min(map(statistics.mean, (curves[v, rate][max(curves[v, rate])] for v in VARIANTS)))
    left.set_ylim(end - 0.3, min(max(first), end + 4))
    left.set_xlabel("step")
    left.set_ylabel("held-out loss, nats per character")
    left.set_title(f"Learning, rate {rate} (mean and range of the seeds)")
    left.legend(frameon=False)
    middle.set_xscale("log")
    middle.set_xticks([float(r) for r in rates], rates)
    middle.minorticks_off()
    middle.set_xlabel("rate of the first step")
    middle.set_ylabel("held-out loss after the last step")
    middle.set_title("By learning rate")
    right.invert_yaxis()
    right.set_xlim(0, 1.6 * max(norm for of_runs in times.values() for _, norm in of_runs))
    right.set_xlabel("us in a step, % of the step")
    right.set_title("Time in norms and adds")
    for axis in (left, middle, right):
        axis.grid(True, axis="x" if axis is right else "both", alpha=0.3)
        axis.set_axisbelow(True)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.text(1, 0, f"train_text on {about}", ha="right", va="bottom", fontsize=8, color="grey")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=pathlib.Path, nargs="?",
                        default=pathlib.Path("/usr/share/common-licenses/GPL-3"),
                        help="the text to learn (default: %(default)s)")
    parser.add_argument("--program", type=pathlib.Path,
                        default=ROOT / "build/demo/examples/train_text",
                        help="where train_text was built (default: %(default)s)")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results",
                        help="folder of train_text.csv and train_text.png (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=800, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--rates", default="1e-3,3e-4,3e-3",
                        help="the first one's curves are drawn (default: %(default)s)")
    options = parser.parse_args()
    for file in (options.text, options.program):
        if not file.is_file():
            parser.error(f"{file}: no such file")
    table = measure(options)
    curves, times, about = read(table)
    report(curves, times)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "train_text.csv").write_text(table)
    draw(curves, times, about, options.rates.split(",")[0]).savefig(
        options.out / "train_text.png", dpi=100)


if __name__ == "__main__":
    main()
