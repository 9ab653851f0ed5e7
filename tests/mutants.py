# SPDX-License-Identifier: MIT
"""Puts one wrong line at a time into a copy of the headers; the test named with it must fail.

    mutants.py [--compiler c++] [--flags "-O1 -march=native"] [--libraries "-lgtest_main -lgtest"]
               [--include folder]... [name...]

Prints caught or missed for each; fails where a mutant is missed, does not compile, or where the
text that it replaces is no longer there.
"""
import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

KERNEL, STORAGE, FORMAT, SUM, SILU, AVX2, CHECK, OVERLAP, ARGUMENTS = (
    f"rownorm/detail/{name}.hpp"
    for name in ("kernel", "storage", "format", "sum", "silu", "batch_avx2", "check", "overlap",
                 "arguments"))
RMS, LAYER = "rownorm/rms_norm.hpp", "rownorm/layer_norm.hpp"

# name, file, the text, what is put in its place, the test that must fail.
MUTANTS = [
    # The four mistakes.
    ("rms_norm subtracts a mean", KERNEL,
     "const pack<T> v = x(at);\n    s = fma(v, v, s);\n  });\n  return t.of[0];",
     "const pack<T> v = x(at);\n    s = fma(v, v, s);\n  });\n"
     "  const totals<1> m = sum<T, order, 1>(\n"
     "      n, [=](auto at, pack<T>& s) ROWNORM_LAMBDA { s = s + x(at); });\n"
     "  return t.of[0] - m.of[0] * m.of[0] / static_cast<double>(n);", "test_rms_norm"),
    ("rms_norm adds a beta", KERNEL, "else if constexpr (Gamma::present) return z * gamma(at);",
     "else if constexpr (Gamma::present) return fma(z, gamma(at), gamma(at));", "test_rms_norm"),
    ("sqrt(mean(x))", KERNEL, "const pack<T> v = x(at);\n    s = fma(v, v, s);\n  });",
     "const pack<T> v = x(at);\n    s = s + v;\n  });", "test_rms_norm"),
    ("eps outside the root", KERNEL,
     "return square_root(V(length) / fma(V(length), V(eps.value), squares));",
     "return V(1.0) / (square_root(squares / V(length)) + V(eps.value));", "test_rms_norm"),
    # eps, n, the statistic.
    ("eps dropped", KERNEL, "fma(V(length), V(eps.value), squares)", "squares", "test_rms_norm"),
    ("eps of LayerNorm dropped", KERNEL, "square_root(variance + V(eps.value))",
     "square_root(variance)", "test_layer_norm"),
    ("outside_root ignored", KERNEL, "if (eps.outside || eps.value > 0x1p900)\n    for",
     "if (eps.value > 0x1p900)\n    for", "test_rms_norm"),
    ("outside_root of LayerNorm ignored", KERNEL, "if (eps.outside)\n    for", "if (false)\n    for",
     "test_layer_norm"),
    ("n off by one", KERNEL, "reciprocals_of_rms(r, m, last, static_cast<double>(first), eps)",
     "reciprocals_of_rms(r, m, last, static_cast<double>(first + 1), eps)", "test_rms_norm"),
    ("the statistic from all of the row", KERNEL, "return {sum_of_squares<T>(k, x), -1};",
     "return {sum_of_squares<T>(n, x), -1};", "test_rms_norm"),
    ("heads of 128 taken for 64", KERNEL, "return rows(length_of<128>{}, to);",
     "return rows(length_of<64>{}, to);", "test_bits"),
    ("the sample variance", KERNEL, "t.of[1] * share};", "t.of[1] / (length - 1)};",
     "test_layer_norm"),
    ("zeros at eps = 0 become NaN", KERNEL, "return root == 0 ? 0 : 1 / root;", "return 1 / root;",
     "test_range"),
    ("zeros in double at eps = 0 become NaN", KERNEL, "|| sum < 0x1p-1000)", ")",
     "test_extremes"),
    ("zeros of float in double at eps = 0 become NaN", KERNEL, ": found.squares != 0)", ": true)",
     "test_extremes"),
    ("equal numbers of float in double at eps = 0 become NaN", KERNEL,
     "} else if (m.variance + eps.value == 0) {\n    r = 0;", "} else {", "test_extremes"),
    ("rstd not given", KERNEL, "data[i * step] = static_cast<S>(v);", "data[0] = static_cast<S>(v);",
     "test_rms_norm"),
    # The mean.
    ("mean not corrected", KERNEL, "fma(-a.delta, a.delta, a.square)", "a.square",
     "test_layer_norm"),
    ("the rest of the mean dropped", KERNEL, "splat(static_cast<T>(-m.rest * r))", "splat(T(0))",
     "test_layer_norm"),
    ("a bad guess of the mean kept", KERNEL, "apart * a.delta * a.delta <= a.square", "true",
     "test_layer_norm"),
    ("doubles around as bad a guess as floats", KERNEL, "std::is_same_v<T, double> ? 3 : 2", "2",
     "test_layer_norm"),
    ("beta dropped", KERNEL,
     "if constexpr (Gamma::present && Beta::present) return fma(z, gamma(at), beta(at));",
     "if constexpr (Gamma::present && Beta::present) return z * gamma(at);",
     "test_layer_norm"),
    # Words.
    ("after_rounding dropped", KERNEL, "if constexpr (Gamma::after_rounding) z = rounded_to<X>(at, z);",
     "", "test_rms_norm"),
    ("one_plus dropped", KERNEL, "return load(at, data) + splat(T(1));", "return load(at, data);",
     "test_rms_norm"),
    ("one_plus lost on the way", ARGUMENTS, "return to_parameter<true, AfterRounding>(a.gamma);",
     "return to_parameter<OnePlus, AfterRounding>(a.gamma);", "test_rms_norm"),
    ("the sum is not stored", KERNEL,
     "return store_rounded(at, residual, load(at, residual) + load(at, x));",
     "return peek(at);", "test_bits"),
    ("the sum is not rounded before its square", KERNEL,
     "return store_rounded(at, residual, load(at, residual) + load(at, x));",
     "const pack<T> sum = load(at, residual) + load(at, x);\n    store(at, residual, sum);\n"
     "    return sum;",
     "test_bits"),
    # Rows.
    ("stride ignored", KERNEL, "return m.data + i * m.stride;", "return m.data + i * m.length;",
     "test_rms_norm"),
    ("heads in the wrong order", KERNEL,
     "i / m.heads_per_token * m.token_stride + i % m.heads_per_token * m.length",
     "i % m.heads_per_token * m.token_stride + i / m.heads_per_token * m.length", "test_rms_norm"),
    ("every head gets the first gamma", KERNEL,
     "return {data + (i < heads ? i : i % heads) * length, length, 1};",
     "return {data, length, 1};", "test_rms_norm"),
    ("the last row of a block left out", KERNEL, "if (++j == m) break;",
     "if (++j + 1 >= m) break;", "test_rms_norm"),
    ("the rows of the last block as many as of others", KERNEL,
     "const std::size_t m = end - i < block ? end - i : block;", "const std::size_t m = block;",
     "test_rms_norm"),
    ("the second half with another row's statistic", KERNEL,
     "for (std::size_t j = 0;; factor = r[j])", "for (std::size_t j = 0;; factor = r[0])",
     "test_rms_norm"),
    ("one row alone with another eps", KERNEL, "if (m == 1) return reciprocal_rms(last, length, eps);",
     "if (m == 1) return reciprocal_rms(last, length, 0);", "test_bits"),
    ("one row alone of LayerNorm without eps", KERNEL, "if (m == 1) return reciprocal_root(last, eps);",
     "if (m == 1) return reciprocal_root(last, 0);", "test_layer_norm"),
    ("the factors of the last rows left out", STORAGE,
     "for (; i < m; ++i) numbers[i] = f(numbers[i]);", "", "test_rms_norm"),
    ("the end of a row left out", KERNEL, "if (overlaps) y.put(end, last);", "", "test_rms_norm"),
    ("the end of a row found after y was stored over x", KERNEL, "y.put(end, last);",
     "y.put(end, value(end));", "test_bits"),
    ("past the cache the tail left out", STORAGE,
     "ROWNORM_INLINE place<T, Order, std::size_t> streamed(place<T, Order, std::size_t> at) {\n"
     "  return at;",
     "ROWNORM_INLINE place<T, Order, std::size_t> streamed(place<T, Order, std::size_t> at) {\n"
     "  return {at.i, 0};", "test_bits"),
    ("saved statistics of the first row for all", KERNEL, "const R r = rstd[i];",
     "const R r = rstd[0];", "test_saved"),
    # The sum.
    ("tail not zeroed", KERNEL, "const pack<T> d = zero_beyond(at, x(at) + less);\n    s = s + d;",
     "const pack<T> d = x(at) + less;\n    s = s + d;", "test_layer_norm"),
    ("the last numbers of a row left out", SUM,
     "add_at(k, s, p(), step, place<T, Order, std::size_t>{at, rest});", "(void)rest;", "test_sum"),
    ("the last numbers of a row to the first lanes", SUM,
     "add_at(k, s, p(), step, place<T, Order, std::size_t>{at, rest});",
     "add_at(k, s, 0, step, place<T, Order, std::size_t>{at, rest});", "test_sum"),
    ("the last numbers of a row to packs behind them too", SUM,
     "else if (whole_packs == of_group && rest != 0)",
     "else if (whole_packs <= of_group && rest != 0)", "test_sum"),
    ("a whole pack of the last group left out", SUM, "if (whole_packs > of_group)",
     "if (whole_packs > of_group + 1)", "test_sum"),
    ("strips of neighbours, which do not meet", SUM,
     "of_group = Strip + p() * strips<T, K>;\n    const std::size_t at",
     "of_group = Strip * in_strip<T, K> + p();\n    const std::size_t at", "test_sum"),
    ("the second means of LayerNorm by a product", KERNEL,
     "a = {shift, u, u.of[0] / length, u.of[1] / length};",
     "a = {shift, u, u.of[0] * share, u.of[1] * share};", "test_layer_norm"),
    ("a strip added twice", SUM, "both[] = {s.lane[k()][0], other.lane[k()][0]};",
     "both[] = {s.lane[k()][0], s.lane[k()][0]};", "test_sum"),
    ("the odd number of a part of bfloat16 left out", AVX2, "if (n % 2 == 0) return pairs;",
     "return pairs;", "test_storage"),
    ("a lane added twice", SUM, "combine(v[p()].a, v[p() + N / 2].a)",
     "combine(v[p()].a, v[p()].a)", "test_sum"),
    ("lanes in another order", SUM,
     "combine(v[p()].a, v[p() + N / 2].a), combine(v[p()].b, v[p() + N / 2].b)",
     "combine(v[p()].a, v[N - 1 - p()].a), combine(v[p()].b, v[N - 1 - p()].b)", "test_sum"),
    ("second set lost", SUM, "else sum = combine{}(sum, v);", "else sum = v;", "test_sum"),
    ("chunks of twice the length", SUM, "chunk = 4 * lanes<T>", "chunk = 8 * lanes<T>",
     "test_sum"),
    ("what the second set rounds away dropped", SUM,
     "rest = rest + ((sum - (s - part)) + (v - part));", "", "test_sum"),
    ("the tail of a row not written", STORAGE,
     "if (i < n) step(place<T, Order, std::size_t>{i, n - i});", "", "test_rms_norm"),
    ("a number too many written", STORAGE,
     "if (i < n) step(place<T, Order, std::size_t>{i, n - i});",
     "if (i < n) step(place<T, Order, std::size_t>{i, n - i + 1});", "test_rms_norm"),
    # 16-bit storage.
    ("bfloat16 by truncation", FORMAT,
     "rounded = bits + (words(0x7fffu) + ((bits >> 16) & words(1u)));", "rounded = bits;",
     "test_storage"),
    ("bfloat16 ties away from zero", FORMAT,
     "rounded = bits + (words(0x7fffu) + ((bits >> 16) & words(1u)));",
     "rounded = bits + words(0x8000u);", "test_storage"),
    ("bfloat16 pairs by truncation", FORMAT,
     "return less_or_zero(lower, ~upper & half_words(std::uint16_t{1})) >> 15;",
     "return half_words(std::uint16_t{0});", "test_storage"),
    ("bfloat16 pairs with ties away from zero", FORMAT,
     "return less_or_zero(lower, ~upper & half_words(std::uint16_t{1})) >> 15;",
     "return lower >> 15;", "test_storage"),
    ("a bfloat16 NaN in turn becomes zero", FORMAT,
     "less_or_zero(round_up(upper, lower), is_nan)",
     "round_up(upper, lower)", "test_storage"),
    ("a bfloat16 NaN becomes Inf", FORMAT, "bits | words(0x00400000u),", "bits & words(0xff800000u),",
     "test_storage"),
    ("a gate far below opens again", SILU, "T(89) : T(710)", "T(87) : T(700)", "test_gated"),
    # The range.
    ("float fallback dropped", KERNEL,
     "may_leave ? usable<T>(found.squares, eps) :", "may_leave ? true :", "test_range"),
    ("tiny rows taken for zeros", KERNEL, "std::numeric_limits<T>::denorm_min());", "T(1e-30));",
     "test_range"),
    ("zeros times an infinite factor", KERNEL, "factor = may_leave ? 0 : r;", "factor = r;",
     "test_extremes"),
    ("small squares taken as they are", KERNEL,
     "in_range(squares, least<T>, std::numeric_limits<double>::infinity())",
     "in_range(squares, 0.0, std::numeric_limits<double>::infinity())", "test_range"),
    ("doubles not scaled up", KERNEL, "std::fabs(mean) >= 0x1p-300 ? 1 : 0x1p600", "1",
     "test_range"),
    ("doubles not scaled down", KERNEL, "if (!(mean_square < 1)) return 0x1p-600;", "",
     "test_range"),
    ("eps not scaled", KERNEL, "epsilon(eps.value * scale * scale)", "epsilon(eps.value)",
     "test_range"),
    ("layer_norm fallback dropped", KERNEL, "if (!ROWNORM_LIKELY(usable(m, eps)))", "if (false)",
     "test_range"),
    ("a row done again: its scale dropped", KERNEL, "return v * splat(scale);", "return v;",
     "test_extremes"),
    ("a row done again: all of its scale with the numbers", KERNEL,
     "x.scale = r == 0 ? 1 : square_root(x.scale);\n  r *= x.scale;", "", "test_extremes"),
    ("a row done again: one_plus dropped", KERNEL, "if (one_plus) v = v + splat(1.0);", "",
     "test_again"),
    ("a row done again: after_rounding dropped", KERNEL,
     "if (gamma.round != nullptr) z = gamma.round(z);", "", "test_again"),
    ("a row done again: beta dropped", KERNEL, "return of_any<X>(beta, -0.0);",
     "return {-0.0};", "test_again"),
    ("a row done again: the gate dropped", KERNEL,
     "if (load_gate != nullptr) v = v * load_gate(gate, of_any(at));\n    return v * ",
     "return v * ", "test_again"),
    ("a row done again: the gate behind gamma dropped", KERNEL,
     "if (load_gate != nullptr) v = v * load_gate(gate, of_any(at));\n    return v;",
     "return v;", "test_again"),
    ("a row done again: written where it is added to", KERNEL,
     "if (load != nullptr) v = load(data, of_any(at)) + v;", "", "test_again"),
    ("a row done again: not added to dgamma", KERNEL,
     "store(partial, of_any(at), fma(x, y, load(partial, of_any(at))));",
     "store(partial, of_any(at), load(partial, of_any(at)));",
     "test_again"),
    ("a row done again: not added to dbeta", KERNEL,
     "store(partial, of_any(at), load(partial, of_any(at)) + x);", ";",
     "test_again"),
    ("a row done again as floats, whatever it holds", KERNEL, "return {load_doubles<stored>, x.data",
     "return {load_doubles<float>, x.data", "test_again"),
    ("a row written again as floats, whatever it holds", KERNEL,
     "return {store_doubles<S>, y.data};", "return {store_doubles<float>, y.data};", "test_again"),
    # Gradients.
    ("the gradient of the root dropped", KERNEL, "fma(h, slope, g)", "g", "test_rms_norm_backward"),
    ("dgamma without the normalized number", KERNEL, "dgamma.add(at, v, h);",
     "dgamma.add(at, v, g);", "test_rms_norm_backward"),
    ("the sums of a gradient's one block dropped", KERNEL, "else add(A{}, sums.partial);", "",
     "test_rms_norm_backward"),
    ("the gradient of one row added twice", "rownorm/detail/scratch.hpp",
     "if (!in_gradient()) add_total", "add_total", "test_gradient_bits"),
    ("two blocks of a gradient taken for one", "rownorm/detail/scratch.hpp",
     "rows > rows_per_block ?", "rows > 2 * rows_per_block ?", "test_gradient_bits"),
    ("a block of rows forgotten in dgamma", KERNEL,
     "if ((i + 1) % rows_per_block == 0 || i + 1 == end)", "if (i + 1 == end && i < rows_per_block)",
     "test_rms_norm_backward"),
    # Checks.
    ("gamma's length not checked", CHECK, "    if (a.length != x.length)\n      miss(\"%s has",
     "    if (false)\n      miss(\"%s has", "test_check"),
    ("the shape of y not checked", CHECK, "rule.matrix(a.y, a.x)", "true", "test_check"),
    ("stride not checked", CHECK, "if (a.stride < a.width)", "if (false)", "test_check"),
    ("a row larger than memory let through", CHECK,
     "if (a.blocks != 0 && a.width_bytes() ==", "if (false && a.width_bytes() ==", "test_check"),
    ("null not checked", CHECK, "if (a.data == nullptr && !a.empty())", "if (false)", "test_check"),
    ("gamma's length not looked at", CHECK,
     "(a.count == 1 || a.count == x.heads) && a.length == x.length &&",
     "(a.count == 1 || a.count == x.heads) &&", "test_check"),
    ("y's place not looked at", CHECK, "out.same(a) || apart(out, a)", "true", "test_check"),
    ("large strides not looked at", CHECK, "moderate(a.blocks, a.stride)", "true", "test_check"),
    ("eps not checked", CHECK, "return e.value >= 0 && e.value <=", "return e.value <=",
     "test_check"),
    ("k = 0 let through", CHECK, "(k < 1 || k > x.length)", "(k > x.length)", "test_check"),
    ("overlap of y and x let through", CHECK, "rule.same_or_apart(a.y, a.x) &&", "", "test_check"),
    ("overlap of y and gamma let through", CHECK,
     "rule.apart(a.y, a.residual, a.gamma, a.beta)",
     "rule.apart(a.y, a.residual, a.beta)", "test_check"),
    ("dgamma's count beside gamma's not checked", CHECK, "rule.same_count(a.dgamma, a.gamma) &&",
     "", "test_check"),
    ("a last number shared by two strides let through", OVERLAP, "v - gap - 1)", "v - gap + 3)",
     "test_check"),
    ("the first of two strides' blocks not asked", OVERLAP, "(d - wide) / s + 1;",
     "(d - wide) / s + 2;", "test_check"),
    ("one head of all tokens taken for all heads of one", KERNEL,
     "step == m.heads_per_token ? m.token_stride : m.length", "m.length", "test_rms_norm"),
    ("y's heads taken for x's", KERNEL,
     "alike = alike && (n == 0 || in_turn == 0 || n == in_turn);", "", "test_rms_norm"),
    ("the gamma of another head", KERNEL, "m.data += first % m.heads * m.length;",
     "m.data += first / m.heads * m.length;", "test_rms_norm"),
    ("rstd of heads in the first rows", KERNEL, "c.data == nullptr ? nullptr : c.data + first",
     "c.data", "test_rms_norm"),
    ("scales of heads side by side", KERNEL, "scales.data + i * scales.step", "scales.data + i",
     "test_rms_norm"),
    ("saved statistics of heads side by side", KERNEL, "    i *= step;\n", "", "test_rms_norm"),
    ("a part of a token taken for all of it", KERNEL, "of_token = in_turn - i % in_turn;",
     "of_token = in_turn;", "test_parallel"),
    ("checks left out of partial_rms_norm", RMS,
     ".statistic_length(k,", ".statistic_length(1,", "test_check"),
]


def run(command):
    return subprocess.run(command, capture_output=True, text=True)


def verdict_of(mutant, folder, here, given):
    _, file, old, new, test = mutant
    headers = folder / "include"
    shutil.copytree(here.parent / "include", headers)
    text = (headers / file).read_text()
    if text.count(old) != 1:
        return f"its text is {text.count(old)} times in {file}"
    (headers / file).write_text(text.replace(old, new))
    program = str(folder / test)
    built = run([given.compiler, "-std=c++17", *given.flags.split(), f"-I{headers}",
                 *(f"-idirafter{i}" for i in given.include), str(here / f"{test}.cpp"),
                 "-o", program, *given.libraries.split()])
    if built.returncode != 0:
        return "does not compile:\n" + built.stderr[:2000]
    return "missed" if run([program]).returncode == 0 else "caught"


def main():
    here = pathlib.Path(__file__).resolve().parent
    options = argparse.ArgumentParser()
    options.add_argument("--compiler", default="c++")
    options.add_argument("--flags", default="-O1 -march=native")
    options.add_argument("--libraries", default="-lgtest_main -lgtest")
    options.add_argument("--include", action="append", default=[])
    options.add_argument("names", nargs="*")
    given = options.parse_args()

    # Each in folders of its own, as many at once as there are cores.
    with tempfile.TemporaryDirectory() as folder, \
            concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        chosen = [m for m in MUTANTS if not given.names or m[0] in given.names]
        verdicts = pool.map(
            lambda i: verdict_of(chosen[i], pathlib.Path(folder) / str(i), here, given),
            range(len(chosen)))
        caught = 0
        for (name, _, _, _, test), verdict in zip(chosen, verdicts):
            print(f"{verdict}: {name} ({test})", flush=True)
            caught += verdict == "caught"
    print(f"{caught} of {len(chosen)} caught")
    return caught != len(chosen)


sys.exit(main())
