#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the header costs: compile time and object size of a file that calls rms_norm<float> once,
against one that only includes Eigen/Core and xsimd."""
import argparse
import pathlib
import resource
import statistics
import subprocess
import tempfile

BASE = "#include <Eigen/Core>\n#include <xsimd/xsimd.hpp>\n"
CALL = """
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
void normalize(const matrix& x, const Eigen::RowVectorXf& gamma, matrix& y) {
  rownorm::rms_norm<float>(x, gamma, y);
}
"""
FILES = {
    "Eigen/Core and xsimd alone": BASE,
    "rownorm.hpp and one call": BASE + "#include <rownorm/rownorm.hpp>\n" + CALL,
}


def compile_time(command):
    """Seconds of CPU, which a busy machine disturbs less than those of the clock."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def text_size(name):
    """Bytes of code and constants."""
    return int(subprocess.check_output(["size", name], text=True).splitlines()[1].split()[0])


def main():
    include = pathlib.Path(__file__).resolve().parent.parent / "include"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", default="c++")
    parser.add_argument("--flags", default="-O2 -march=native",
                        help="as --flags=\"...\" (default: %(default)s)")
    parser.add_argument("--eigen", default="/usr/include/eigen3", help="default: %(default)s")
    parser.add_argument("--times", type=int, default=7, help="compilations, in turn (default: 7)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = {title: [] for title in FILES}
        for _ in range(options.times):
            for i, (title, text) in enumerate(FILES.items()):
                source = pathlib.Path(folder, f"{i}.cpp")
                source.write_text(text)
                seconds[title].append(compile_time(
                    [options.compiler, "-std=c++17", *options.flags.split(), "-isystem",
                     options.eigen, "-I", str(include), "-c", str(source), "-o",
                     str(source.with_suffix(".o"))]))
        base = statistics.median(seconds["Eigen/Core and xsimd alone"])
        print("| file | compile, s | more, s | code and constants, bytes | object, bytes |")
        print("|---|---:|---:|---:|---:|")
        for i, (title, of) in enumerate(seconds.items()):
            time, built = statistics.median(of), pathlib.Path(folder, f"{i}.o")
            print(f"| {title} | {time:.2f} | {time - base:.2f} | {text_size(built)} | "
                  f"{built.stat().st_size} |")


if __name__ == "__main__":
    main()
