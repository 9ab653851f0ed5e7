#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Three pictures from a CSV of bench_table: throughput, RMSNorm against LayerNorm, the best peer.

They show the lines of rms_norm and layer_norm; those of other ops stay in the CSV."""
import argparse
import csv
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BYTES = {"bf16": 2, "fp16": 2, "float": 4, "double": 8}
NORMS = {"rms_norm": "RMSNorm", "layer_norm": "LayerNorm"}
# Okabe and Ito's colours, which the colour-blind can tell apart; markers help where they are grey.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#A0A000", "#777777"]
MARKERS = "osD^v<>P"


def read(path):
    with open(path, newline="") as file:
        lines = file.readlines()
    about = dict(line[2:].strip().split(": ", 1) for line in lines if line.startswith("#"))
    table = [row for row in csv.DictReader(line for line in lines if not line.startswith("#"))
             if row["norm"] in NORMS]
    for row in table:
        for column in ("rows", "length"):
            row[column] = int(row[column])
        for column in ("ns_per_row", "of_rownorm"):
            row[column] = float(row[column])
    return about, table


def sweeps(table):
    """The fewest and the most rows that were measured at many lengths, and the lengths of both."""
    lengths = {}
    for row in table:
        lengths.setdefault(row["rows"], set()).add(row["length"])
    counts = sorted(count for count, of in lengths.items() if len(of) >= 6)
    if not counts:
        return [], set()
    return sorted({counts[0], counts[-1]}), lengths[counts[0]] & lengths[counts[-1]]


def curve(table, value, **where):
    points = sorted((row["length"], value(row)) for row in table
                    if all(row[column] == wanted for column, wanted in where.items()))
    return [x for x, _ in points], [y for _, y in points]


def rows_text(count):
    return "1 row" if count == 1 else f"{count} rows"


def length_axis(axis):
    axis.set_xscale("log", base=2)
    axis.set_xlabel("D, numbers per row")
    axis.grid(True, which="major", alpha=0.3)


def throughput(table, types):
    counts, lengths = sweeps(table)
    table = [row for row in table if row["length"] in lengths]
    panels = [(norm, count) for norm in NORMS for count in counts]
    figure, axes = plt.subplots(len(types), len(panels), squeeze=False, sharex=True,
                                figsize=(4.2 * len(panels), 3.6 * len(types)))
    names = []
    for row in table:
        if row["role"] in ("rownorm", "peer") and row["implementation"] not in names:
            names.append(row["implementation"])
    for axes_row, type_ in zip(axes, types):
        def gigabytes(row):
            return 2 * row["length"] * BYTES[row["type"]] / row["ns_per_row"]

        for axis, (norm, count) in zip(axes_row, panels):
            where = {"type": type_, "norm": norm, "rows": count}
            axis.plot(*curve(table, gigabytes, role="copy", **where), color="black",
                      linestyle="--", label="memcpy")
            for i, name in enumerate(names):
                x, y = curve(table, gigabytes, implementation=name, **where)
                if x:
                    axis.plot(x, y, color=COLOURS[i % 8], marker=MARKERS[i % 8], markersize=4,
                              linewidth=2.5 if name == "rownorm" else 1.2, label=name)
            axis.set_title(f"{NORMS[norm]}, {type_}, {rows_text(count)}")
            axis.set_yscale("log")
            axis.set_ylim(bottom=axis.get_ylim()[1] / 1000)
            length_axis(axis)
        axes_row[0].set_ylabel("GB/s, read and written")
    shared_legend(figure, axes)
    return figure


def against(table, types):
    panels, lengths = sweeps(table)
    table = [row for row in table if row["length"] in lengths]
    figure, axes = plt.subplots(len(types), len(panels), squeeze=False, sharex=True,
                                figsize=(5.5 * len(panels), 3.6 * len(types)))
    for axes_row, type_ in zip(axes, types):
        for axis, count in zip(axes_row, panels):
            for norm, colour, marker in (("rms_norm", COLOURS[0], "o"),
                                         ("layer_norm", COLOURS[5], "s")):
                for role, style, text in (("rownorm", "-", "whole call"),
                                          ("reduction", ":", "reduction alone")):
                    axis.plot(*curve(table, lambda row: 1000 * row["ns_per_row"] / row["length"],
                                     type=type_, norm=norm, rows=count, role=role),
                              color=colour, marker=marker, markersize=4, linestyle=style,
                              label=f"{NORMS[norm]}, {text}")
            axis.set_title(f"{type_}, {rows_text(count)}")
            axis.set_yscale("log")
            length_axis(axis)
        axes_row[0].set_ylabel("picoseconds per number")
    shared_legend(figure, axes)
    return figure


def best_peer(table, types):
    shapes = list(dict.fromkeys((row["rows"], row["length"]) for row in table))
    figure, axes = plt.subplots(1, len(types), squeeze=False, sharey=True,
                                figsize=(5.5 * len(types), 1.5 + 0.26 * len(shapes)))
    for axis, type_ in zip(axes[0], types):
        for offset, norm, colour in ((-0.2, "rms_norm", COLOURS[0]),
                                     (0.2, "layer_norm", COLOURS[1])):
            places, ratios = [], []
            for place, (count, length) in enumerate(shapes):
                peers = [row for row in table if row["role"] == "peer" and row["norm"] == norm and
                         (row["type"], row["rows"], row["length"]) == (type_, count, length)]
                if peers:
                    places.append(place + offset)
                    ratios.append(min(peers, key=lambda row: row["ns_per_row"])["of_rownorm"])
            axis.barh(places, [ratio - 1 for ratio in ratios], left=1, height=0.38, color=colour,
                      label=NORMS[norm])
        axis.axvline(1, color="black", linewidth=1)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_title(type_)
        axis.set_xlabel("rownorm's time / the best peer's (left of 1: rownorm is ahead)")
        axis.grid(True, axis="x", alpha=0.3)
        axis.set_axisbelow(True)
    axes[0][0].set_yticks(range(len(shapes)), [f"{count}x{length}" for count, length in shapes])
    axes[0][0].set_ylabel("rows x D")
    axes[0][0].set_ylim(len(shapes) - 0.5, -0.5)
    shared_legend(figure, axes)
    return figure


def shared_legend(figure, axes):
    entries = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            entries.setdefault(label, handle)
    figure.legend(entries.values(), entries.keys(), loc="upper center", frameon=False,
                  ncol=min(len(entries), 5))
    inch = 1 / figure.get_figheight()  # the legend's lines above, the figures' origin below
    figure.tight_layout(rect=(0, 0.15 * inch, 1, 1 - (0.1 + 0.25 * -(-len(entries) // 5)) * inch))


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=here / "results",
                        help="folder for the pictures (default: %(default)s)")
    parser.add_argument("--types", default="bf16,float", help="default: %(default)s")
    parser.add_argument("--format", choices=("svg", "png"), default="svg")
    options = parser.parse_args()
    about, table = read(options.csv)
    types = [t for t in options.types.split(",") if any(row["type"] == t for row in table)]
    plt.rcParams["svg.hashsalt"] = "rownorm"  # the same picture, the same file
    options.out.mkdir(parents=True, exist_ok=True)
    pictures = {"rms_against_layer": against, "throughput": throughput, "best_peer": best_peer}
    for name, draw in pictures.items():
        if draw is not best_peer and not sweeps(table)[0]:
            parser.error(f"{options.csv} has no row count with six lengths or more to draw")
        figure = draw(table, types)
        figure.text(1, 0, f"{about.get('machine', '')}, {about.get('compiler', '')}, "
                    f"commit {about.get('commit', '')}", ha="right", va="bottom", fontsize=7,
                    color="grey")
        figure.savefig(options.out / f"{name}.{options.format}", dpi=110,
                       metadata={"Date": None} if options.format == "svg" else None)
        plt.close(figure)


if __name__ == "__main__":
    main()
