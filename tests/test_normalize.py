# SPDX-License-Identifier: MIT
"""The example tool normalize against NumPy in float64, and each of its errors.

test_normalize.py <command of the tool>...
"""
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import unittest

import numpy as np

COMMAND = sys.argv[1:]
# The order of bytes of the machine that the tool is for, which may be an emulated one.
HERE = ">" if sys.byteorder == "big" or "s390x" in " ".join(COMMAND) else "<"
EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"
DEFAULT_EPS = {"rms": 1e-6, "layer": 1e-5}


def to_bf16(x):
    """The bits of the nearest bfloat16 (ties to even)."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


# How each type is made from float64 and widened back, and the step of its numbers at 1.
TYPES = {
    "float16": (np.float16, np.float64, 2.0**-10),
    "float32": (np.float32, np.float64, 2.0**-23),
    "float64": (np.float64, np.float64, 2.0**-52),
    "bfloat16": (to_bf16, from_bf16, 2.0**-7),
}


def reference(x, op, eps, gamma=1.0, beta=0.0):
    x = x.astype(np.longdouble)
    if op == "layer":
        x = x - x.mean(-1, keepdims=True)
    return gamma * x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) + beta


class Normalize(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.random = np.random.RandomState(0)

    def save(self, name, x, **how):
        with open(self.folder / name, "wb") as file:
            np.lib.format.write_array(file, np.asanyarray(x), **how)

    def save_raw(self, name, header, data=b"", version=b"\x01\x00"):
        """With a header of other writers."""
        (self.folder / name).write_bytes(b"\x93NUMPY" + version + len(header).to_bytes(2, "little") +
                                         header.encode("latin1") + data)

    def run_tool(self, *arguments, **how):
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        return subprocess.run([*COMMAND, *map(str, arguments)], cwd=self.folder, text=True, **how)

    def memory_limit(self, size):
        """What a child does so that it gets no more."""
        try:
            import resource
        except ImportError:
            self.skipTest("no limits on memory here")

        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (size, size))
        if self.run_tool("--help", preexec_fn=limit).returncode != 0:
            self.skipTest("under an emulator or a sanitizer the tool takes more")
        return limit

    def normalize(self, *arguments):
        done = self.run_tool(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout


class Results(Normalize):
    def numbers(self, shape):
        """Rows with a mean and a size of their own; where they are small, eps shows."""
        x = self.random.standard_normal(shape) + 0.5
        return x * 10.0 ** self.random.uniform(-3, 1, (*shape[:-1], 1))

    def check(self, name, shape, op, *flags, gamma=False, beta=False, eps=None):
        make, widen, step = TYPES[name]
        x = make(self.numbers(shape))
        arguments = {"gamma": 1.0, "beta": 0.0}
        options = [*flags, *(["--bf16"] if name == "bfloat16" else [])]
        for parameter, wanted in (("gamma", gamma), ("beta", beta)):
            if wanted:
                values = make(self.random.uniform(-2, 2, shape[-1]))
                self.save(f"{parameter}.npy", values)
                arguments[parameter] = widen(values).astype(np.longdouble)
                options += [f"--{parameter}", f"{parameter}.npy"]
        if eps is not None:
            options += ["--eps", eps]
        self.save("x.npy", x)
        self.normalize("--op", op, *options, "x.npy", "y.npy")

        y = np.load(self.folder / "y.npy")
        self.assertEqual((y.dtype, y.shape), (x.dtype, x.shape))
        expected = reference(widen(x), op, DEFAULT_EPS[op] if eps is None else eps, **arguments)
        size = np.maximum(abs(expected), abs(arguments["gamma"]) + abs(arguments["beta"]))
        worst = (abs(widen(y) - expected) / (step * size)).max()
        self.assertLess(worst, 0.6 if step > 1e-3 else 4.1)

    def test_every_type_and_shape(self):
        for name in TYPES:
            for op in ("rms", "layer"):
                for shape in ((7,), (3, 1), (5, 33), (2, 3, 130), (2, 1, 2, 64)):
                    with self.subTest(name=name, op=op, shape=shape):
                        self.check(name, shape, op)

    def test_parameters(self):
        for name in TYPES:
            with self.subTest(name=name):
                self.check(name, (4, 50), "rms", gamma=True)
                self.check(name, (4, 50), "layer", gamma=True)
                self.check(name, (4, 50), "layer", beta=True)
                self.check(name, (2, 2, 50), "layer", gamma=True, beta=True)

    def test_eps(self):
        for op in ("rms", "layer"):
            self.check("float32", (6, 40), op, eps=0.25)
            self.check("float64", (6, 40), op, eps=0)

    def test_rms_is_the_default(self):
        self.save("x.npy", np.array([1, 2, 3, 4], np.float32))
        self.normalize("x.npy", "-o", "y.npy")
        np.testing.assert_allclose(np.load(self.folder / "y.npy"),
                                   [0.3651484, 0.7302967, 1.0954451, 1.4605934], rtol=1e-6)

    def test_sizes_that_overflow_a_sum_of_squares(self):
        self.save("x.npy", np.array([[1e25, -1e25]], np.float32))
        self.normalize("x.npy", "y.npy")
        np.testing.assert_array_equal(np.load(self.folder / "y.npy"), [[1, -1]])

    def test_output_may_be_the_input(self):
        self.save("x.npy", np.array([3.0, -4.0]))
        self.normalize("--eps", 0, "x.npy", "--out", "x.npy")
        np.testing.assert_allclose(np.load(self.folder / "x.npy"), np.array([3, -4]) / 12.5**0.5)
        self.assertEqual([file.name for file in self.folder.iterdir()], ["x.npy"])

    def test_other_names_of_bfloat16(self):
        bits, gamma_bits = to_bf16(self.numbers((3, 10))), to_bf16(self.numbers((1, 10)))[0]
        outputs = set()
        for x_type in ("<u2", "<i2", "|V2", "<V2", "=u2", ">u2"):
            for gamma_type in ("<u2", "|V2", "<V2", ">i2"):
                for name, dtype, numbers in (("x", x_type, bits), ("gamma", gamma_type, gamma_bits)):
                    order = {"|": HERE, "=": HERE}.get(dtype[0], dtype[0])
                    self.save_raw(f"{name}.npy", f"{{'descr': '{dtype}', 'fortran_order': False, "
                                                 f"'shape': {numbers.shape}, }}\n",
                                  numbers.astype(f"{order}u2").tobytes())
                self.normalize("--bf16", "--gamma", "gamma.npy", "x.npy", "y.npy")
                y = (self.folder / "y.npy").read_bytes()
                self.assertIn(f"'{x_type}'".encode(), y)
                order = {"|": HERE, "=": HERE}.get(x_type[0], x_type[0])
                outputs.add(np.frombuffer(y[-bits.nbytes:], f"{order}u2").astype("<u2").tobytes())
        self.assertEqual(len(outputs), 1)

    def test_either_order_of_bytes(self):
        for kind in ("f2", "f4", "f8"):
            x, gamma = self.numbers((5, 12)).astype(kind), self.numbers((1, 12))[0].astype(kind)
            outputs = set()
            for x_order in "<>":
                for gamma_order in "<>":
                    self.save("x.npy", x.astype(x_order + kind))
                    self.save("gamma.npy", gamma.astype(gamma_order + kind))
                    self.normalize("--gamma", "gamma.npy", "x.npy", "y.npy")
                    y = np.load(self.folder / "y.npy")
                    self.assertEqual(y.dtype, np.dtype(x_order + kind))
                    outputs.add(y.astype(kind).tobytes())
            self.assertEqual(len(outputs), 1)
            np.testing.assert_allclose(y.astype(np.float64),
                                       reference(x, "rms", 1e-6, gamma.astype(np.longdouble))
                                       .astype(np.float64), rtol=4 * np.finfo(x.dtype).eps)

    def test_fortran_order(self):
        for shape in ((7,), (7, 1), (1, 7), (3, 4), (2, 3, 5), (2, 1, 3, 4), (3, 1, 1), (0, 3)):
            for dtype in ("<f2", "<f4", ">f8"):
                x = self.numbers(shape).astype(dtype)
                self.save("x.npy", x)
                self.normalize("x.npy", "expected.npy")
                # By hand: numpy.save says C order where both are.
                self.save_raw("x.npy", f"{{'descr': '{dtype}', 'fortran_order': True, "
                                       f"'shape': {shape}, }}\n", x.tobytes("F"))
                self.normalize("x.npy", "y.npy")
                y = (self.folder / "y.npy").read_bytes()
                with self.subTest(shape=shape, dtype=dtype):
                    self.assertIn(b"'fortran_order': True", y)
                    np.testing.assert_array_equal(np.load(self.folder / "y.npy"),
                                                  np.load(self.folder / "expected.npy"))

    def test_empty_arrays_are_copied(self):
        for shape in ((0,), (0, 4), (4, 0), (2, 0, 3)):
            self.save("x.npy", np.empty(shape, np.float32))
            self.assertIn("no numbers", self.normalize("x.npy", "y.npy"))
            self.assertEqual((self.folder / "y.npy").read_bytes(),
                             (self.folder / "x.npy").read_bytes())

    def test_rows_that_are_not_there_take_no_memory(self):
        limit = self.memory_limit(300 << 20)
        for shape in ((0, 2**30), (2**30, 0), (0, 2**60), (2**30, 0, 2**30)):
            self.save_raw("x.npy", f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n")
            done = self.run_tool("--op", "layer", "x.npy", "y.npy", preexec_fn=limit)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual((self.folder / "y.npy").read_bytes(),
                             (self.folder / "x.npy").read_bytes())


class Headers(Normalize):
    def test_versions(self):
        for version in ((1, 0), (2, 0), (3, 0)):
            self.save("x.npy", np.array([[3.0, 3.0], [5.0, -5.0]]), version=version)
            self.normalize("--eps", 0, "x.npy", "y.npy")
            self.assertEqual((self.folder / "y.npy").read_bytes()[6:8], bytes(version))
            np.testing.assert_array_equal(np.load(self.folder / "y.npy"), [[1, 1], [1, -1]])

    def test_header_of_more_than_127_bytes(self):
        x = np.full((1,) * 30 + (2,), 7.0, np.float32)
        for version in ((1, 0), (2, 0)):
            self.save("x.npy", x, version=version)
            self.normalize("--eps", 0, "x.npy", "y.npy")
            np.testing.assert_array_equal(np.load(self.folder / "y.npy"), np.ones_like(x))

    def test_header_of_another_writer(self):
        """The keys in another order, other blanks, no padding: the format leaves that free. Python 2
        wrote u'' and 2L, and NumPy takes the names of a type."""
        data = np.array([4.0, -4.0])
        for text in ("{'shape':(1,2),'fortran_order':False,'descr':'<f8'}\n",
                     "{ 'fortran_order' : False , 'shape' : ( 1 , 2 ) , 'descr' : '<f8' }\n",
                     "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2)}",
                     "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2,), }   ",
                     "{'descr': '<f8', 'fortran_order': False, 'shape': (1L, 2L), }\n",
                     "{'shape': (2L,), 'descr': '<f8', 'fortran_order': False}\n",
                     '{"descr": "<f8", "fortran_order": False, "shape": (1, 2)}\n',
                     "{u'descr': u'<f8', u'fortran_order': False, U'shape': (1, 2)}\n",
                     "\t{'descr':\t'<f8',\n'fortran_order': False,\r\n'shape': (1,\t2)}\t\n\n",
                     "{'descr': '=f8', 'fortran_order': False, 'shape': (1, 2)}\n",
                     "{'descr': '|f8', 'fortran_order': False, 'shape': (1, 2)}\n",
                     "{'descr': 'f8', 'fortran_order': False, 'shape': (1, 2)}\n",
                     "{'descr': 'd', 'fortran_order': False, 'shape': (1, 2)}\n",
                     "{'descr': 'float64', 'fortran_order': False, 'shape': (1, 2)}\n",
                     "{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (1, 2)}\n"):
            with self.subTest(text=text):
                dtype = ("<" if "<" in text else HERE) + "f8"
                self.save_raw("x.npy", text, data.astype(dtype).tobytes())
                self.normalize("--eps", 0, "x.npy", "y.npy")
                y = (self.folder / "y.npy").read_bytes()
                np.testing.assert_array_equal(np.frombuffer(y[-16:], dtype), [1, -1])

    def test_sixty_four_axes(self):
        x = np.array([2.0, -2.0], "<f4").tobytes()
        header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1, " * 63 + "2)}\n"
        self.save_raw("x.npy", header, x)
        self.normalize("--eps", 0, "x.npy", "y.npy")
        self.assertEqual((self.folder / "y.npy").read_bytes()[-8:],
                         np.array([1.0, -1.0], "<f4").tobytes())


class Report(Normalize):
    def test_report(self):
        x = (self.random.standard_normal((2, 3, 4000)) + 2).astype(np.float32)
        self.save("x.npy", x)
        lines = self.normalize("--op", "layer", "x.npy", "y.npy").splitlines()
        self.assertEqual(lines[0], "x.npy: float32 (2, 3, 4000)")
        for line, name, numbers in ((lines[1], "before", x),
                                    (lines[2], "after", np.load(self.folder / "y.npy"))):
            word, _, mean, _, rms = line.split()
            self.assertEqual(word, name)
            numbers = numbers.astype(np.float64)
            np.testing.assert_allclose([float(mean), float(rms)],
                                       [numbers.mean(), (numbers**2).mean()**0.5],
                                       rtol=1e-3, atol=1e-7)
        # Each number is read once and written once.
        time, rate = map(float, re.fullmatch(
            r"y\.npy: layer_norm in (\S+) us, (\S+) GB/s read and written", lines[3]).groups())
        np.testing.assert_allclose(rate * time, 2 * x.nbytes / 1e3, rtol=0.05 / time + 0.01)

    def test_of_numbers_whose_squares_leave_the_range_of_double(self):
        largest = np.finfo(float).max
        for numbers, mean, rms in (([1e200, 1e200], "1e+200", "1e+200"),
                                   ([3e-308] * 4, "3e-308", "3e-308"),
                                   ([3e-320, -3e-320], "0", "3e-320"),
                                   ([largest] * 3, "1.798e+308", "1.798e+308"),
                                   ([largest, -largest], "0", "1.798e+308"),
                                   ([1e200, 1], "5e+199", "7.071e+199"),
                                   ([np.inf, 1], "inf", "inf"), ([np.nan, 1], "nan", "nan")):
            self.save("x.npy", np.array(numbers))
            before = self.normalize("x.npy", "y.npy").splitlines()[1].split()
            self.assertEqual([word.lstrip("-") for word in before],
                             ["before", "mean", mean, "RMS", rms])

    def test_one_dimension(self):
        self.save("x.npy", np.ones(5, np.float16))
        self.assertIn("x.npy: float16 (5,)\n", self.normalize("x.npy", "y.npy"))

    def test_help(self):
        text = self.normalize("--help")
        for word in ("--op", "--gamma", "--beta", "--eps", "--bf16", "--out", "1e-6", "1e-5"):
            self.assertIn(word, text)


class Failing(Normalize):
    def setUp(self):
        super().setUp()
        self.x = np.arange(12, dtype=np.float32).reshape(3, 4)
        self.save("x.npy", self.x)

    def fails(self, message, *arguments, **how):
        """Exit code 1, one line on stderr, and the folder as it was."""
        def contents():
            return {file: file.read_bytes() for file in self.folder.iterdir() if file.is_file()}

        before = contents()
        done = self.run_tool(*arguments, **how)
        with self.subTest(arguments=arguments):
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertRegex(done.stderr, r"\Anormalize: [^\n]*\n\Z")
            self.assertIn(message, done.stderr)
            self.assertEqual(contents(), before)


class Errors(Failing):
    def bad_array(self, message, x, *options):
        self.save("bad.npy", x)
        self.fails(f"bad.npy: {message}", *options, "bad.npy", "y.npy")

    def bad_bytes(self, message, data):
        (self.folder / "bad.npy").write_bytes(data)
        self.fails(f"bad.npy: {message}", "bad.npy", "y.npy")
        self.fails(f"bad.npy: {message}", "--gamma", "bad.npy", "x.npy", "y.npy")

    def bad_header(self, message, text):
        self.save_raw("bad.npy", text, bytes(4))
        self.bad_bytes(message, (self.folder / "bad.npy").read_bytes())

    def test_files(self):
        self.fails("missing.npy: No such file", "missing.npy", "y.npy")
        self.fails("missing.npy: No such file", "--gamma", "missing.npy", "x.npy", "y.npy")
        self.fails(f"{self.folder}: ", self.folder, "y.npy")
        self.bad_bytes("not a .npy file", b"1 2 3 4\n" * 20)
        self.bad_bytes("not a .npy file", b"\x93NUMPZ" + (self.folder / "x.npy").read_bytes()[6:])

    def test_lengths(self):
        good = (self.folder / "x.npy").read_bytes()
        for length in (0, 5, 7, 9, 50, 127):
            self.bad_bytes("not a .npy file, or cut off in its header", good[:length])
        for length in (128, 175):
            self.bad_bytes(f"holds {length - 128} bytes of numbers, its header promises 48",
                           good[:length])
        self.bad_bytes("holds 49 bytes of numbers, its header promises 48", good + b"0")
        for version in (b"\x00\x00", b"\x04\x00", b"\x01\x01"):
            self.bad_bytes("none of the versions", good[:6] + version + good[8:])

    def test_headers(self):
        good = (self.folder / "x.npy").read_bytes()
        for shape in (b"(3 -4)", b"(3;4) ", b"(,3,4)", b"(3.,4)"):
            self.bad_bytes("no array has the shape", good.replace(b"(3, 4)", shape))
        for shape in ("(2)", (2**62, 2**62, 4), (2**62, 4), (2**64, 1), (0, 2**64), (0, 2**63),
                      (2**63, 0), (0, 2**62), (2**40, 0, 2**40), "(2 2, 2)", "(02, 2)", "(2, -2)",
                      "(2,, 2)", "2", "[2, 2]", "(+2, 2)", "(2", "('2', 2)"):
            self.bad_header("no array has the shape",
                            f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n")
        self.bad_header("has more than 64 axes", "{'descr': '<f4', 'fortran_order': False, 'shape': ("
                        + "1, " * 65 + ")}\n")
        for text in ("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}\n",
                     "{'descr': '<f4', 'shape': (1,)}\n",
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}\n",
                     "{'descr': '<f4', 'fortran_order': False 'shape': (1,)}\n",
                     "{'descr': b'<f4', 'fortran_order': False, 'shape': (1,)}\n",
                     "{'descr': '<f4\n', 'fortran_order': False, 'shape': (1,)}\n",
                     "{}", "", "{'descr"):
            self.bad_header("not an array of numbers", text)
        for key in (b"'descr'", b"'shape'"):
            self.bad_bytes("not an array of numbers", good.replace(key, key.upper()))
        for old, new in ((b"{", b"["), (b", }", b", ]"), (b"}  ", b"} x"),
                         (b"False,", b"False;"), (b"', '", b"'; '")):
            self.bad_bytes("not an array of numbers", good.replace(old, new))

    def test_dtypes(self):
        hint = "it should be <f2, <f4, <f8 or, with --bf16, <u2"
        self.bad_array("dtype <i4, " + hint, self.x.astype(np.int32))
        self.bad_array("dtype <u2, " + hint, self.x.astype(np.uint16))
        self.bad_array("dtype <f4, with --bf16", self.x, "--bf16")
        self.bad_array("dtype <f2, with --bf16", self.x.astype(np.float16), "--bf16")
        self.bad_array("dtype <c16, not plain", self.x.astype(complex))
        self.bad_array("dtype <U3, not plain", np.array(["one", "two"]))
        self.bad_array("dtype |b1, not plain", self.x > 3)
        self.bad_array("dtype <M8[s], not plain", self.x.astype("M8[s]"))
        self.bad_array("not an array of numbers", np.zeros(3, [("a", "<f4")]))
        self.bad_array("dtype <f16, not plain", self.x.astype(np.longdouble))

    def test_no_axis(self):
        self.bad_array("a 0-d array has no axis to normalize", np.float32(3))

    def test_parameters(self):
        for name in ("gamma", "beta"):
            for message, values in (("shape (3,), the rows of the input ask for (4,)", self.x[:, 0]),
                                    ("shape (5,)", np.ones(5, np.float32)),
                                    ("shape (1, 4)", self.x[:1]),
                                    ("shape ()", self.x[0, 0]),
                                    ("dtype <f8, that of the input is <f4", np.ones(4)),
                                    ("dtype <u2, that of the input is <f4", np.ones(4, np.uint16))):
                self.save("bad.npy", values)
                self.fails(f"bad.npy: {message}", "--op", "layer", f"--{name}", "bad.npy",
                           "x.npy", "y.npy")
        self.save("beta.npy", np.ones(4, np.float32))
        self.fails("RMSNorm has no shift", "--beta", "beta.npy", "x.npy", "y.npy")

    def test_arguments(self):
        for eps in ("-1", "nan", "inf"):
            self.fails("eps is", "--eps", eps, "x.npy", "y.npy")
        self.fails("--eps", "--eps", "small", "x.npy", "y.npy")
        self.fails("--op", "--op", "batch", "x.npy", "y.npy")
        self.fails("--spe", "--spe", "1", "x.npy", "y.npy")
        for option in ("--gamma", "--beta", "--eps", "--op", "--out"):
            self.fails(f"{option}: ", "--op", "layer", option, "", "x.npy", "y.npy")
        self.fails("input: is empty", "", "y.npy")
        self.fails("--out: is empty", "x.npy", "")
        self.fails("required", "x.npy")
        self.fails("required")

    def test_outputs(self):
        self.fails("y.npy: cannot be written", "x.npy", "missing/y.npy")
        self.fails(f"{self.folder}: not a regular file", "x.npy", self.folder)

    def test_an_older_output_is_kept(self):
        self.save("y.npy", self.x)
        self.fails("missing.npy", "missing.npy", "y.npy")

    def test_memory(self):
        limit = self.memory_limit(400 << 20)
        with open(self.folder / "big.npy", "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False,
                                                        "shape": (1 << 18, 1 << 10)})
            size = file.tell() + (1 << 30)
            file.truncate(size)
        done = self.run_tool("big.npy", "y.npy", preexec_fn=limit)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (
            1, "", f"normalize: big.npy: {size} bytes, more than memory has room for\n"))

    def test_full_disk(self):
        try:
            import resource
        except ImportError:
            self.skipTest("no limits on the size of files here")
        self.save("big.npy", np.ones(100000, np.float32))
        self.save("y.npy", self.x)
        # SIGXFSZ is ignored by Python, and by the tool where Python does not restore it.
        self.assertEqual(signal.getsignal(signal.SIGXFSZ), signal.SIG_IGN)
        for name in ("big.npy", "x.npy"):
            self.fails("y.npy: cannot be written", name, "y.npy", restore_signals=False,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)))

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full here")
    def test_full_standard_output(self):
        for arguments in (("x.npy", "y.npy"), ("--help",)):
            with open("/dev/full", "w") as full:
                done = self.run_tool(*arguments, stdout=full)
            self.assertEqual(done.returncode, 1)
        self.assertTrue((self.folder / "y.npy").exists())


@unittest.skipUnless(os.name == "posix", "modes, links and pipes are POSIX's")
class Writing(Failing):
    """What the output's name stands for, and what lies beside it."""
    def normalized(self, name):
        np.testing.assert_allclose(np.load(self.folder / name), reference(self.x, "rms", 1e-6), rtol=1e-6)

    def names(self):
        return sorted(file.name for file in self.folder.iterdir())

    def test_a_file_beside_it_is_left_alone(self):
        (self.folder / "y.npy.part").write_text("mine")
        self.normalize("x.npy", "y.npy")
        self.assertEqual((self.folder / "y.npy.part").read_text(), "mine")
        self.save("z.npy.part", self.x)
        self.normalize("z.npy.part", "z.npy")  # which once was the name of the input
        self.normalized("z.npy")
        np.testing.assert_array_equal(np.load(self.folder / "z.npy.part"), self.x)
        os.symlink("x.npy", self.folder / "l.npy.part")
        os.mkfifo(self.folder / "f.npy.part")
        for name in ("l.npy", "f.npy"):
            self.run_tool("x.npy", name, timeout=60)
            self.normalized(name)
        np.testing.assert_array_equal(np.load(self.folder / "x.npy"), self.x)
        self.assertEqual(self.names(), ["f.npy", "f.npy.part", "l.npy", "l.npy.part", "x.npy", "y.npy",
                                        "y.npy.part", "z.npy", "z.npy.part"])

    def test_modes(self):
        for mode in (0o600, 0o640, 0o666, 0o444 if os.getuid() == 0 else 0o644):
            self.save("y.npy", self.x)
            os.chmod(self.folder / "y.npy", mode)
            self.normalize("x.npy", "y.npy")
            self.assertEqual(stat.S_IMODE(os.stat(self.folder / "y.npy").st_mode), mode)
            self.normalized("y.npy")
        for mask in (0o022, 0o077):
            self.run_tool("x.npy", f"{mask}.npy", preexec_fn=lambda: os.umask(mask))
            self.assertEqual(stat.S_IMODE(os.stat(self.folder / f"{mask}.npy").st_mode), 0o666 & ~mask)

    def test_symbolic_links(self):
        (self.folder / "folder").mkdir()
        self.save("folder/y.npy", self.x)
        os.symlink("folder/y.npy", self.folder / "link.npy")
        os.symlink(self.folder / "link.npy", self.folder / "second.npy")
        os.symlink("folder/new.npy", self.folder / "dangling.npy")
        for link, file in (("link.npy", "y.npy"), ("second.npy", "y.npy"), ("dangling.npy", "new.npy")):
            self.save("folder/y.npy", self.x)
            self.normalize("x.npy", link)
            self.assertTrue((self.folder / link).is_symlink())
            self.assertFalse((self.folder / "folder" / file).is_symlink())
            self.normalized(f"folder/{file}")
        os.symlink("loop.npy", self.folder / "loop.npy")
        self.fails("loop.npy: cannot be written", "x.npy", "loop.npy")

    def test_long_names(self):
        name = "y" * 251 + ".npy"
        self.assertEqual(len(name), 255)
        self.normalize("x.npy", name)
        self.normalized(name)
        self.fails("cannot be written", "x.npy", "y" + name)

    def test_what_is_no_file(self):
        os.mkfifo(self.folder / "pipe")
        self.fails("pipe: not a regular file", "x.npy", "pipe", timeout=60)
        self.fails("/dev/null: not a regular file", "x.npy", "/dev/null")

    def test_a_file_that_the_user_may_not_write(self):
        """As another user where this one is root, who may write everything."""
        command, how = COMMAND, {}
        if os.getuid() == 0:
            os.chmod(self.folder, 0o777)
            command = [*COMMAND[:-1], shutil.copy(COMMAND[-1], self.folder / "tool")]
            os.chmod(command[-1], 0o755)
            how = {"user": 65534, "group": 65534, "extra_groups": []}
        os.chmod(self.folder / "x.npy", 0o644)
        self.save("y.npy", self.x)
        os.chmod(self.folder / "y.npy", 0o444)

        def run(output):
            return subprocess.run([*command, "x.npy", output], cwd=self.folder, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)
        self.assertEqual(run("free.npy").returncode, 0)
        self.normalized("free.npy")
        self.assertEqual(run("y.npy").stderr, "normalize: y.npy: cannot be written: Permission denied\n")
        np.testing.assert_array_equal(np.load(self.folder / "y.npy"), self.x)


class Activations(Normalize):
    """The array that ships with the examples."""
    def test_both_norms(self):
        x = np.load(EXAMPLES / "activations.npy")
        self.assertEqual((x.dtype, x.shape), (np.float32, (64, 512)))
        for op in ("rms", "layer"):
            self.normalize("--op", op, EXAMPLES / "activations.npy", "y.npy")
            np.testing.assert_allclose(np.load(self.folder / "y.npy"),
                                       reference(x, op, DEFAULT_EPS[op]).astype(np.float64),
                                       rtol=1e-6, atol=4e-7)

    def test_the_script_makes_the_file(self):
        subprocess.run([sys.executable, EXAMPLES / "make_activations.py", self.folder / "x.npy"],
                       check=True)
        np.testing.assert_allclose(np.load(self.folder / "x.npy"),
                                   np.load(EXAMPLES / "activations.npy"), rtol=1e-6)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
