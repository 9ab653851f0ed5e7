#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The blocks of code of the pages and of the headers' comments do what the pages say.

test_pages.py --compiler c++ --cmake cmake --build <build folder> [--include folder]... [--has parallel|mpi|dispatch]...
              [--mpiexec "mpiexec -n"]

C++ is compiled and run (fragments with the names of PREAMBLE around them), what it prints compared
with the block after it; CMake is configured; of commands the presets, targets, packages, options and
files must be there, and the examples print what stands below them, but for figures that are measured.
The figures of the README and of the examples' page are those of bench/results. The README's house is
that of the headers, and links from page to page lead somewhere.
"""
import argparse
import collections
import csv
import fnmatch
import json
import os
import pathlib
import re
import shlex
import statistics
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("*/README.md"))]
HEADERS = sorted((ROOT / "include/rownorm").glob("*.hpp"))

# What the fragments speak of.
INCLUDES = ["<cstdint>", "<cstdio>", "<cstdlib>", "<rownorm/rownorm.hpp>", "<stdexcept>", "<vector>"]
PREAMBLE = """
namespace rn = rownorm;
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Row = Eigen::RowVectorXf;
static const std::size_t D = 4, k = 2, count = 3, length = 4, stride = 5;
static const std::size_t tokens = 2, heads = 3, head_length = 4, token_stride = 20;
static Matrix x = Matrix::Random(3, 4), residual = x + x, z = x, y = x, dy = x, dx = x, dh = x;
static Row gamma = Row::Ones(4), beta = Row::Zero(4), head_gamma = gamma, dgamma = beta, dbeta = beta;
static std::vector<double> mean(3), rstd(3, 1.0);
static std::vector<float> numbers(100, 1.0f), scales(3);
static const float* data = numbers.data();
static float* qkv = numbers.data();
static Eigen::Matrix<std::int8_t, 3, 4, Eigen::RowMajor> int8;
static const double eps = 1e-6;
static const float rate = 0.1f;
[[maybe_unused]] static const auto pool = [](std::size_t n, const auto& body) {
  for (std::size_t i = 0; i < n; ++i) body(i);
};
#if defined(MPI_VERSION)
static const auto comm = MPI_COMM_SELF;
#endif
"""
TARGET_HEADERS = {"parallel": "<rownorm/parallel.hpp>", "mpi": "<rownorm/mpi.hpp>",
                  "dispatch": "<rownorm/dispatch.hpp>"}


class Block:
    def __init__(self, path, line, language, text, heading):
        self.path, self.line, self.language, self.text, self.heading = path, line, language, text, heading
        self.after = None  # the next block of the page

    def __str__(self):
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    @property
    def is_program(self):
        return self.language == "cpp" and "int main(" in self.text

    @property
    def commands(self):
        """Lists of words; of a console block those behind $."""
        lines = [line[2:] for line in self.text.splitlines() if line.startswith("$ ")] \
            if self.language == "console" else self.text.replace("\\\n", "").splitlines()
        for line in lines:
            for command in line.split("&&"):
                if words := shlex.split(command, comments=True):
                    yield words


def blocks_of(path):
    found, heading, fence = [], "", None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if path.suffix == ".hpp":
            if not line.lstrip().startswith("///"):
                continue
            line = line.lstrip()[4:]
        if fence is None and line.startswith("```"):
            fence = Block(path, number, line[3:], "", heading)
        elif line == "```":
            if found:
                found[-1].after = fence
            found.append(fence)
            fence = None
        elif fence is not None:
            fence.text += line + "\n"
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    return found


BLOCKS = [block for path in PAGES + HEADERS for block in blocks_of(path)]


def run(command, **options):
    return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", **options)


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def succeed(self, command, **options):
        done = run(command, **options)
        self.assertEqual(done.returncode, 0, f"{command}:\n{done.stdout}")
        return done.stdout


def missing_target(block):
    """The target whose header a block includes, where it was not built."""
    return next((name for name, header in TARGET_HEADERS.items()
                 if header in block.text and name not in OPTIONS.has), None)


class Cpp(Case):
    """All in one file, and what needs a library in another that is not linked: most of the time goes
    to the headers."""
    blocks = [block for block in BLOCKS if block.language == "cpp"]

    def compile(self, blocks, *flags):
        """A program that runs the i-th block; of declarations there is nothing to run."""
        includes, outside, inside, calls = [f"#include {name}" for name in INCLUDES], [], [], []
        for i, block in enumerate(blocks):
            hoisted = re.findall(r"^#include .*$", block.text, re.MULTILINE)
            includes += [line for line in hoisted if line not in includes]
            text = re.sub(r"^(#include|namespace rn =).*$", "", block.text, flags=re.MULTILINE)
            text = f'#line {block.line + 1} "{block.path.relative_to(ROOT)}"\n{text}'
            if block.is_program:
                # auto: as of main, its return may be left out.
                outside.append(text.replace("int main(", f"static auto block_{i}("))
            elif re.match(r"(struct|template) ", block.text):
                outside.append(text)
                continue
            else:
                inside.append(f"static void block_{i}() {{\n{text}}}")
            calls.append(f"case {i}: block_{i}(); break;")
        source = self.folder / "pages.cpp"
        source.write_text("\n".join([
            *includes, *outside, "namespace pages {", PREAMBLE, *inside, '#line 1 "main"',
            "static void call(int i) {", "switch (i) {", *calls, "}", "}", "}  // namespace pages",
            "int main(int, char** argument) { pages::call(std::atoi(argument[1])); }", ""]))
        self.succeed([OPTIONS.compiler, "-std=c++17", "-O0", "-Wall", "-Wextra", f"-I{ROOT / 'include'}",
                      *(f"-I{folder}" for folder in OPTIONS.include), *flags, source,
                      "-o", self.folder / "pages"])

    def test_alone(self):
        blocks = [b for b in self.blocks if not any(h in b.text for h in TARGET_HEADERS.values())]
        self.compile(blocks)
        for i, block in enumerate(blocks):
            printed = self.succeed([self.folder / "pages", i])
            with self.subTest(str(block)):
                if block.is_program:
                    self.assertIsNotNone(block.after, "no output stands behind this program")
                    self.assertEqual(block.after.language, "")
                    self.assertEqual([line.rstrip() for line in printed.splitlines()],
                                     block.after.text.splitlines())

    def test_with_libraries(self):
        blocks = [b for b in self.blocks if any(h in b.text for h in TARGET_HEADERS.values())]
        self.assertEqual(len(blocks), 2)
        for block in blocks:
            if missing_target(block):
                print(f"{block}: not compiled, rownorm::{missing_target(block)} was not built")
        blocks = [block for block in blocks if not missing_target(block)]
        if blocks:
            self.compile(blocks, "-DROWNORM_TBB", "-fsyntax-only")

    def test_the_program_of_the_readme_is_hello(self):
        hello = (ROOT / "examples/hello.cpp").read_text()
        self.assertEqual(next(b for b in self.blocks if b.is_program).text, hello[hello.index("#include"):])


class CMake(Case):
    """The block as it is finds an installed rownorm, and with the line that its comment names instead
    the sources beside it."""

    def configure(self, block, text, *arguments):
        (self.folder / "main.cpp").write_text("#include <rownorm/rownorm.hpp>\nint main() {}\n")
        (self.folder / "CMakeLists.txt").write_text(
            f"cmake_minimum_required(VERSION 3.22)\nproject(user LANGUAGES CXX)\n{text}")
        build = tempfile.mkdtemp(dir=self.folder)
        with self.subTest(str(block), text=text):
            self.succeed([OPTIONS.cmake, "-S", self.folder, "-B", build, *arguments,
                          f"-DCMAKE_CXX_COMPILER={OPTIONS.compiler}"])
            self.assertIn("my_program", self.succeed([OPTIONS.cmake, "--build", build, "--target", "help"]))

    def test_blocks(self):
        blocks = [block for block in BLOCKS if block.language == "cmake"]
        self.assertNotEqual(blocks, [])
        prefix = self.folder / "installed"
        (self.folder / "rownorm").symlink_to(ROOT)
        self.succeed([OPTIONS.cmake, "--install", OPTIONS.build, "--prefix", prefix])
        if not prefix.exists():
            print("no find_package: a build that fetched what it stands on installs nothing")
        for block in blocks:
            if prefix.exists():
                self.configure(block, block.text, f"-DCMAKE_PREFIX_PATH={prefix}")
            other = re.search(r"add_subdirectory\(rownorm\)", block.text)
            self.assertIsNotNone(other)
            self.configure(block, re.sub(r"^find_package\(rownorm.*$", other[0], block.text, flags=re.MULTILINE))


def presets(kind):
    return {preset["name"] for preset in json.loads((ROOT / "CMakePresets.json").read_text())[kind]}


def targets():
    """What the files of CMake name as targets, whatever was found on this machine."""
    text = "\n".join(path.read_text() for path in [ROOT / "CMakeLists.txt", *ROOT.glob("*/CMakeLists.txt"),
                                                   *ROOT.glob("cmake/*.cmake")])
    names = set(re.findall(r"(?:add_executable|add_custom_target|add_library|rownorm_test)\((\w+)", text))
    for variable, values in re.findall(r"foreach\((\w+) (?:IN ITEMS )?([\w ]+)\)", text):
        names |= {name.replace("${%s}" % variable, value) for value in values.split()
                  for name in re.findall(r"add_executable\((\S+)", text)}
    return names


class Commands(Case):
    """What they name is there; a command of a kind that no check_ knows fails."""

    made = None

    def option(self, words, name):
        return words[words.index(name) + 1] if name in words else None

    def check(self, words):
        if words[0] == "nice":
            words = words[3:]
        name = "program" if "/" in words[0] else re.sub(r"\W", "_", words[0])
        getattr(self, f"check_{name}")(*words)

    def check_cmake(self, *words):
        kind = "workflowPresets" if "--workflow" in words else \
            "buildPresets" if "--build" in words else "configurePresets"
        if preset := self.option(words, "--preset"):
            self.assertIn(preset, presets(kind))
        else:
            self.assertTrue("-S" in words or "--build" in words)
        if "--target" in words:
            self.assertLessEqual(set(words[words.index("--target") + 1:]), targets())
        lists = "".join((ROOT / name).read_text() for name in ("CMakeLists.txt", "tests/CMakeLists.txt"))
        for option in re.findall(r"-D(ROWNORM_\w+)=", " ".join(words)):
            self.assertRegex(lists, rf"(option|set)\({option} ")

    def check_ctest(self, *words):
        if "--test-dir" not in words:
            self.assertIn(self.option(words, "--preset"), presets("testPresets"))

    def check_apt_get(self, _, *words):
        if words == ("update",):
            return
        install, yes, *packages = words
        self.assertEqual((install, yes), ("install", "-y"))
        known = re.search(r"packages=\((.*?)\)", (ROOT / ".ci/run").read_text(), re.DOTALL)[1].split()
        self.assertLessEqual(set(packages), set(known))

    def check_g__(self, *words):
        sources = [word for word in words if word.endswith(".cpp")]
        self.assertNotEqual(sources, [])
        for source in sources:
            self.assertTrue((ROOT / source).is_file())
        self.made = self.option(words, "-o")

    check_clang_tidy = check_g__

    def check_python3(self, _, script, *arguments):
        text = (ROOT / script).read_text()
        for word in arguments:
            if word.startswith("--"):
                self.assertIn(f'"{word.split("=")[0]}"', text)
            elif "/" in word:
                self.assertTrue((ROOT / word).is_file())

    def check_git(self, *words):
        self.assertEqual(words[-3:], ("xargs", "clang-format", "-i"))

    def check_program(self, program, *words):
        built = re.match(r"build/\w+/(\w+)/(\w+)$", program)
        if not built and program == f"./{self.made}":  # by the command before it
            return
        if not built:
            self.assertTrue(os.access(ROOT / program, os.X_OK))
            return
        self.assertIn(built[2], targets())
        source = "".join(path.read_text() for path in (ROOT / built[1]).glob("*.cpp"))
        for word in words:
            if word.startswith("--") and not word.startswith("--benchmark_"):
                self.assertIn(f'"{word}"', source)
        for op in (self.option(words, "--ops") or "").split(","):
            self.assertRegex(source, rf"\b{op}\b")

    def test_shell(self):
        blocks = [block for block in BLOCKS if block.language == "sh"]
        self.assertGreater(len(blocks), 8)
        for block in blocks:
            for words in block.commands:
                with self.subTest(str(block), words=words):
                    self.check(words)

    def test_what_ci_runs_on_a_bare_machine(self):
        """Both commands of the first screen, to the letter."""
        path = ROOT / "README.md"
        blocks = [b for b in BLOCKS if b.path == path and b.language == "sh" and b.heading == "rownorm"]
        self.assertEqual(len(blocks), 2)
        for i, block in enumerate(blocks, 1):
            self.assertEqual(self.succeed([ROOT / ".ci/run", "readme_command", i]), block.text)

    def test_languages(self):
        for block in BLOCKS:
            with self.subTest(str(block)):
                self.assertIn(block.language, ("cpp", "cmake", "sh", "console", ""))


def masked(printed):
    """Figures left out, since most are measured; lines in order, since processes may print in any."""
    lines = (re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)?(e[-+]\d+)?", "#", line)).strip()
             for line in printed.splitlines())
    return sorted(line for line in lines if line)


class Examples(Case):
    """What the examples' page says that they print."""

    def command(self, words):
        name, *arguments = words
        if name == "mpiexec":
            return [*OPTIONS.mpiexec, arguments[1], *self.command(arguments[2:])]
        if name == "./train_text" and "--help" not in arguments:  # it would learn for a while
            if "--steps" in arguments:
                arguments[arguments.index("--steps") + 1] = "2"
            else:
                arguments += ["--steps", "2"]
        return [OPTIONS.build / "examples" / name, *arguments]

    def setUp(self):
        super().setUp()
        (self.folder / "examples").symlink_to(ROOT / "examples")
        for name, kind, shape, numbers in (("x", "<f4", (2, 3), "6f"), ("g", "<f4", (3,), "3f"),
                                           ("b", "<f4", (3,), "3f"), ("bits", "<u2", (2, 3), "6H")):
            header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
            (self.folder / f"{name}.npy").write_bytes(
                b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() +
                struct.pack("<" + numbers, *range(int(numbers[0]))))

    def run_example(self, words):
        command = self.command(words)
        program = next(pathlib.Path(word) for word in map(str, command) if "/examples/" in word)
        missing = next((word for word in [str(program), *words]
                        if word.startswith("/") and not pathlib.Path(word).exists()), None)
        if missing:
            print(f"{words}: not run, there is no {missing}")
            return None
        return self.succeed(command, cwd=self.folder, env={
            **os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1"})

    def test_console(self):
        blocks = [block for block in BLOCKS if block.language == "console"]
        self.assertNotEqual(blocks, [])
        for block in blocks:
            sessions = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
            self.assertEqual(sessions[0], "")
            for session in sessions[1:]:
                line, _, expected = session.partition("\n")
                with self.subTest(str(block), line=line):
                    printed = self.run_example(shlex.split(line, comments=True))
                    if expected and printed is not None:
                        self.assertEqual(masked(printed), masked(expected))

    def test_blocks_without_a_language(self):
        """They stand behind a program, or in the section of an example, and are what it prints."""
        behind = {block.after for block in BLOCKS if block.is_program}
        blocks = [block for block in BLOCKS if block.language == "" and block not in behind]
        self.assertEqual(len(blocks), 2)
        for block in blocks:
            with self.subTest(str(block)):
                printed = self.run_example([f"./{block.heading}"])
                if printed is not None and (block.heading != "parallel" or "parallel" in OPTIONS.has):
                    self.assertEqual(printed, block.text)


class Figures(Case):
    """The README's table and what is said of it, and the examples' losses, against the CSV files."""

    def setUp(self):
        super().setUp()
        self.lines = collections.defaultdict(lambda: collections.defaultdict(list))
        for row in self.read("table.csv"):
            key = row["norm"], row["type"], row["rows"] + "x" + row["length"]
            self.lines[key][row["role"]].append((float(row["ns_per_row"]), row["implementation"]))
        self.readme, self.bench = (" ".join((ROOT / name).read_text().split())
                                   for name in ("README.md", "bench/README.md"))

    def read(self, name):
        with open(ROOT / "bench/results" / name) as file:
            return list(csv.DictReader(line for line in file if not line.startswith("#")))

    def ns(self, norm, kind, shape, role):
        return self.lines[norm, kind, shape][role][0][0]

    def test_the_table(self):
        """To within one, as for rounding."""
        table = re.findall(r"^\| (\d+x\d+) \| (\w+) \| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
        self.assertGreater(len(table), 6)
        for shape, kind, rest in table:
            expected = [f"{self.ns('rms_norm', kind, shape, 'copy'):.0f}"]
            for norm in ("rms_norm", "layer_norm"):
                best = min(self.lines[norm, kind, shape]["peer"])
                expected += [f"**{self.ns(norm, kind, shape, 'rownorm'):.0f}**",
                             f"{self.ns(norm, kind, shape, 'first half'):.0f} + "
                             f"{self.ns(norm, kind, shape, 'second half'):.0f}", f"{best[0]:.0f} ({best[1]})"]
            line = f"| {shape} | {kind} | {' | '.join(expected)} |"
            numbers, words = (lambda s: [int(n) for n in re.findall(r"\d+", s)]), (lambda s: re.sub(r"\d+", "", s))
            with self.subTest(f"the CSV has {line}"):
                self.assertEqual(words(rest), words(" | ".join(expected)))
                for said, is_ in zip(numbers(rest), numbers(" | ".join(expected))):
                    self.assertLessEqual(abs(said - is_), 1)

    def test_what_is_said_of_it(self):
        ahead = sum(min(line["rownorm"])[0] < min(line["peer"])[0] for line in self.lines.values())
        self.assertIn(f"Of the {len(self.lines)} lines of the [CSV](results/table.csv) rownorm is ahead of all "
                      f"others in {ahead}.", self.bench)

        def medians(role):
            ratios = {kind: [self.ns("layer_norm", kind, shape, role) / self.ns("rms_norm", kind, shape, role)
                             for norm, k, shape in self.lines if (norm, k) == ("rms_norm", kind)]
                      for kind in ("float", "bf16")}
            self.assertEqual({len(of) for of in ratios.values()}, {48})
            return [f"{statistics.median(ratios[kind]):.2f}" for kind in ("float", "bf16")]

        self.assertIn("LayerNorm takes {} times as long in float and {} in bf16".format(*medians("rownorm")),
                      self.readme)
        self.assertIn("takes {} and {} times as long as one sum of squares".format(*medians("reduction")),
                      self.readme)
        large = self.ns("layer_norm", "float", "4096x4096", "rownorm") / \
            self.ns("rms_norm", "float", "4096x4096", "rownorm")
        self.assertIn(f"where memory is the limit, {large:.2f} is left of that", self.readme)

    def test_losses(self):
        losses = collections.defaultdict(list)
        for row in self.read("train_text.csv"):
            if row["step"] == "800":
                losses[row["norm"], row["placement"], row["rate"]].append(float(row["held_out_loss"]))
        page = (ROOT / "examples/README.md").read_text()
        for (norm, placement), name in {("rms", "pre"): "RMSNorm, pre", ("layer", "pre"): "LayerNorm, pre",
                                        ("rms", "post"): "RMSNorm, post", ("none", "pre"): "no norm"}.items():
            cells = [losses[norm, placement, rate] for rate in ("3e-4", "1e-3", "3e-3")]
            line = " | ".join(f"{statistics.mean(of):.3f} ({min(of):.3f} to {max(of):.3f})" for of in cells)
            self.assertIn(f"| {name} | {line} |", page)
        best = [min(statistics.mean(losses[norm, "pre", rate]) for rate in ("3e-4", "1e-3", "3e-3"))
                for norm in ("rms", "layer")]
        self.assertIn("{:.3f} nats per character with RMSNorm and {:.3f} with LayerNorm".format(*best), self.readme)


class House(Case):
    """The README's rooms: every header, its lines to a fifth, and of whom it may know."""

    def setUp(self):
        self.readme = (ROOT / "README.md").read_text()
        self.headers = {path.stem: path.read_text() for path in (ROOT / "include/rownorm").rglob("*.hpp")}

    def test_rooms(self):
        said = {}
        for names, lines in re.findall(r"^\| (?:\*\*`detail/`\*\* )?((?:`\w+`(?:, )?)+) \| .* \| ([\d, ]+) \|$", self.readme,
                                       re.MULTILINE):
            said.update(zip(re.findall(r"\w+", names), map(int, lines.split(", "))))
        self.assertEqual(said.keys(), self.headers.keys())
        for name, text in self.headers.items():
            self.assertAlmostEqual(said[name], text.count("\n"), delta=max(10, said[name] / 5), msg=name)

    def test_who_knows_whom(self):
        chain = re.search(r"further left: (.*?)\.\n", self.readme, re.DOTALL)[1].split("←")
        step = {name: i for i, names in enumerate(chain) for pattern in names.split(",")
                for name in fnmatch.filter(self.headers, pattern.strip())}
        self.assertEqual(step.keys(), self.headers.keys())
        for name, text in self.headers.items():
            for other in re.findall(r'^#include "(?:\w+/|\.\./)?(\w+)\.hpp"', text, re.MULTILINE):
                self.assertLess(step[other], step[name], f"{name}.hpp includes {other}.hpp")


class Links(Case):
    """A file or heading of this repository that a page names is there."""

    def test_links(self):
        def anchors(path):
            return {re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")
                    for words in re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)}

        for page in PAGES:
            text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
            for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", text):
                file, _, anchor = link.partition("#")
                target = (page.parent / file).resolve() if file else page
                with self.subTest(page.relative_to(ROOT), link=link):
                    self.assertTrue(target.exists())
                    if anchor:
                        self.assertIn(anchor, anchors(target))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", default="c++")
    parser.add_argument("--cmake", default="cmake")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/test")
    parser.add_argument("--include", action="append", default=[])
    parser.add_argument("--has", action="append", default=[])
    parser.add_argument("--mpiexec", type=shlex.split, default="mpiexec -n")
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
