# SPDX-License-Identifier: MIT
"""The example train_text: it learns with each norm, the same each time, and each of its errors.

test_train_text.py <command of the example>...
"""
import csv
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

COMMAND = sys.argv[1:]
TEXT = "The quick brown fox jumps over the lazy dog; " * 20


class TrainText(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "text").write_text(TEXT)

    def run_example(self, *arguments, **how):
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        return subprocess.run([*COMMAND, *map(str, arguments)], cwd=self.folder, text=True,
                              errors="replace", **how)

    def train(self, *arguments):
        """What was printed, and the bytes of the CSV."""
        done = self.run_example(*arguments, "--csv", "losses.csv")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout, (self.folder / "losses.csv").read_bytes()

    def losses(self, *arguments):
        printed, table = self.train("text", "--steps", 30, *arguments)
        rows = list(csv.DictReader(table.decode().splitlines()))
        self.assertEqual([int(row["step"]) for row in rows], list(range(31)))
        lines = re.findall(r"^ +(\d+) +([\d.]+) +([\d.]+)$", printed, re.MULTILINE)
        self.assertEqual(len(lines), len(rows))
        for line, row in zip(lines, rows):
            for number, same in zip(line, row.values()):
                self.assertAlmostEqual(float(number), float(same), delta=6e-5)
        return [[float(row[column]) for row in rows] for column in ("train_loss", "held_out_loss")]


class Learning(TrainText):
    def test_every_model_learns(self):
        first = set()
        for model in (("rms", "pre"), ("layer", "pre"), ("none", "pre"), ("rms", "post"),
                      ("layer", "post")):
            train, held_out = self.losses("--norm", model[0], "--placement", model[1])
            with self.subTest(model=model):
                for losses in (train, held_out):
                    # 27 characters, each as likely as the next, have a loss of 3.3.
                    self.assertGreater(losses[0], 3.3)
                    self.assertLess(losses[-1], 1)
                self.assertNotIn(train[0], first)  # the flags count
                first.add(train[0])

    def test_without_norms_both_placements_are_one_model(self):
        self.assertEqual(self.losses("--norm", "none", "--placement", "pre"),
                         self.losses("--norm", "none", "--placement", "post"))

    def test_rms_in_front_of_each_block_is_the_default(self):
        self.assertEqual(self.losses(), self.losses("--norm", "rms", "--placement", "pre"))

    def test_a_seed_gives_one_result(self):
        def what_was_learned(seed):
            printed, table = self.train("text", "--steps", 9, "--seed", seed)
            return table, printed[printed.index("gamma"):]

        self.assertEqual(what_was_learned(7), what_was_learned(7))
        table, rest = what_was_learned(8)
        self.assertNotIn(table, what_was_learned(7))
        self.assertNotIn(rest, what_was_learned(7))

    def test_report(self):
        for norm, part in (("rms", "the norms with their adds"),
                           ("layer", "the norms with their adds"),
                           ("none", "the residual adds")):
            printed, _ = self.train("text", "--steps", 5, "--norm", norm)
            step, share, percent = map(float, re.search(
                rf"an undisturbed step took ([\d.]+) us, {part} ([\d.]+) us, ([\d.]+)%\n",
                printed).groups())
            self.assertTrue(0 < share < step)
            self.assertAlmostEqual(percent, 100 * share / step, delta=0.1)
            moved = re.findall(r"gamma moved from 1 by ([\d.]+) on average, by ([\d.]+) at most",
                               printed)
            if norm == "none":
                self.assertEqual(moved, [])
            else:
                mean, most = map(float, moved[0])
                # Adam's first step is the rate for every number; five falling ones add up to 3e-3.
                self.assertTrue(0.0005 < mean < most < 0.01, moved)

    def test_sample_goes_on_from_the_text(self):
        printed, _ = self.train("text", "--steps", 200)
        sample = printed.split("a sample:\n")[1].rstrip("\n")
        self.assertEqual(len(sample), 240)
        self.assertIn(sample, TEXT)

    def test_the_default_text_is_the_licence(self):
        printed, _ = self.train("--steps", 1)
        self.assertRegex(printed, r"\A\S*LICENSE: 10\d\d characters")

    def test_any_bytes_are_text(self):
        (self.folder / "bytes").write_bytes(bytes(range(256)) * 2)
        printed, _ = self.train("bytes", "--steps", 1)
        self.assertIn("bytes: 512 characters, 256 different ones", printed)

    def test_a_sample_may_hold_any_characters(self):
        (self.folder / "bytes").write_bytes(b"\0" * 900)
        printed, _ = self.train("bytes", "--steps", 1)
        self.assertEqual(printed.split("a sample:\n")[1], "\0" * 240 + "\n")

    def test_help(self):
        done = self.run_example("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for word in ("--norm", "--placement", "--steps", "--rate", "--seed", "--csv", "LICENSE"):
            self.assertIn(word, done.stdout)


class Errors(TrainText):
    def fails(self, message, *arguments):
        """Exit code 1, and one line on stderr."""
        done = self.run_example(*arguments)
        with self.subTest(arguments=arguments):
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertRegex(done.stderr, r"\Atrain_text: [^\n]*\n\Z")
            self.assertIn(message, done.stderr)

    def test_texts(self):
        self.fails("missing: No such file", "missing")
        self.fails(f"{self.folder}: is a directory", self.folder)
        (self.folder / "empty").write_text("")
        self.fails("empty: the file is empty", "empty")
        (self.folder / "short").write_text("x" * 31)
        self.fails("short: 31 characters are too few", "short")
        (self.folder / "short").write_text("x" * 32)
        self.assertEqual(self.run_example("short", "--steps", 1).returncode, 0)

    def test_flags(self):
        self.fails("--norm", "--norm", "batch")
        self.fails("--placement", "--placement", "middle")
        for steps in ("0", "-1", "many", "1e10", "99999999999"):
            self.fails("--steps", "--steps", steps)
        for rate in ("0", "-1", "1.1", "nan", "fast"):
            self.fails("--rate", "--rate", rate)
        for seed in ("-1", "x"):
            self.fails("--seed", "--seed", seed)
        self.fails("--stesp", "--stesp", "1")
        self.fails("more", "text", "more")

    def test_numbers_are_decimal_and_nothing_is_empty(self):
        for flag in ("--steps", "--seed"):
            for number in ("010", "0x10", "00", "+5"):
                self.fails(f"{flag}: ", flag, number)
        for flag in ("--steps", "--seed", "--rate", "--norm", "--placement", "--csv"):
            self.fails(f"{flag}: ", flag, "")
        self.fails("text: is empty", "")
        self.assertEqual(self.run_example("text", "--steps", 1, "--seed", 0).returncode, 0)

    @unittest.skipUnless(os.path.exists("/proc/self/mem"), "no file here that opens and cannot be read")
    def test_a_read_error_is_not_the_end_of_the_text(self):
        self.fails("/proc/self/mem: Input/output error", "/proc/self/mem")

    def test_the_size_of_the_text_is_asked_first(self):
        try:
            import resource
        except ImportError:
            self.skipTest("no limits on memory here")

        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        if self.run_example("--help", preexec_fn=limit).returncode != 0:
            self.skipTest("under an emulator or a sanitizer the program takes more memory")
        for size, message in ((3 << 30, "2 GB of text are the most"),
                              (3 << 29, "more than memory has room for")):
            with open(self.folder / "long", "wb") as file:
                file.truncate(size)
            done = self.run_example("long", preexec_fn=limit)
            self.assertEqual((done.returncode, done.stderr), (1, f"train_text: long: {message}\n"))

    def test_a_loss_that_is_not_finite_is_the_end(self):
        done = self.run_example("text", "--norm", "none", "--rate", 1, "--steps", 60, "--csv", "losses.csv")
        self.assertEqual(done.returncode, 1)
        step = int(re.fullmatch(r"train_text: step (\d+): the loss is \S+, held out \S+; try a lower --rate\n",
                                done.stderr).group(1))
        rows = list(csv.DictReader((self.folder / "losses.csv").read_text().splitlines()))
        self.assertEqual([int(row["step"]) for row in rows], list(range(0, step, 3)))
        self.assertEqual(done.stdout.count("\n"), 4 + len(rows))
        self.assertNotRegex(done.stdout, "nan|inf|sample")

    def test_csv_that_cannot_be_written(self):
        self.fails("missing/losses.csv: No such file", "--csv", "missing/losses.csv")
        self.fails("text: is the text", "text", "--csv", "text")
        os.symlink("text", self.folder / "link")
        self.fails("link: is the text", "text", "--csv", "link")
        self.assertEqual((self.folder / "text").read_text(), TEXT)

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full here")
    def test_full_disks(self):
        done = self.run_example("text", "--steps", 20, "--csv", "/dev/full")
        self.assertEqual((done.returncode, done.stderr),
                         (1, "train_text: /dev/full: cannot be written\n"))
        self.assertRegex(done.stdout, r"\n +0 .*\n\Z")  # after no step
        for arguments in (("text", "--steps", 20), ("--help",)):
            with open("/dev/full", "w") as full:
                done = self.run_example(*arguments, stdout=full)
            self.assertEqual(done.returncode, 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
