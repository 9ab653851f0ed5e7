# SPDX-License-Identifier: MIT
"""Puts one wrong line at a time into a copy of the headers; the test named with it must fail.

    mutants.py [--compiler c++] [--flags "-O1 -march=native"] [--libraries "-lgtest_main -lgtest"]
               [--include folder]... [--texts] [name or test...]

Prints caught or missed for each; fails where a mutant is missed, does not compile, or where the
text that it replaces is no longer there once, and where a test fails without a mutant. --texts
looks at the texts alone.
"""
import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

BATCH, AVX2, FORMAT, STORAGE, SUM, SILU = (
    f"rownorm/detail/{name}.hpp"
    for name in ("batch", "batch_avx2", "format", "storage", "sum", "silu"))
SOURCE, GAIN, SINK, AGAIN, RANGE, STATISTIC, ORIGIN, LOOPS, FORWARD = (
    f"rownorm/detail/{name}.hpp"
    for name in ("source", "gain", "sink", "again", "range", "statistic", "origin", "loops",
                 "forward"))
GRADIENT, ROW_SUMS, BACKWARD, SCRATCH, ARGUMENTS, CALLS, CHECK, OVERLAP = (
    f"rownorm/detail/{name}.hpp"
    for name in ("gradient", "row_sums", "backward", "scratch", "arguments", "calls", "check",
                 "overlap"))
# Compiled for AVX2 whatever the CPU has more.
FOR_AVX2 = (AVX2, SUM)
TOGETHER, PARALLEL, MPI = (
    "rownorm/detail/together.hpp", "rownorm/parallel.hpp", "rownorm/mpi.hpp")

# name, file, the text, what is put in its place, the test that must fail.
MUTANTS = [
    # The four mistakes.
    ("rms_norm subtracts a mean", STATISTIC, "s = fma(v, v, s);\n  });\n  return t.of[0];",
     "s = fma(v, v, s);\n  });\n"
     "  const totals<1> m = sum<T, order, 1>(\n"
     "      n, [&](auto at, pack<T>& s) ROWNORM_LAMBDA { s = s + x(at); });\n"
     "  return t.of[0] - m.of[0] * m.of[0] / static_cast<double>(n);", "test_rms_norm"),
    ("rms_norm adds a beta", GAIN, "else if constexpr (Gamma::present) return z * gamma(at);",
     "else if constexpr (Gamma::present) return fma(z, gamma(at), gamma(at));", "test_rms_norm"),
    ("sqrt(mean(x))", STATISTIC, "s = fma(v, v, s);\n  });\n  return t.of[0];",
     "s = s + v;\n  });\n  return t.of[0];", "test_rms_norm"),
    ("eps outside the root", RANGE,
     "return square_root(V(length) / fma(V(length), V(eps.value), squares));",
     "return V(1.0) / (square_root(squares / V(length)) + V(eps.value));", "test_rms_norm"),
    # eps, n, the statistic.
    ("eps dropped", RANGE, "fma(V(length), V(eps.value), squares)", "squares", "test_rms_norm"),
    ("eps of LayerNorm dropped", RANGE, "square_root(variance + V(eps.value))",
     "square_root(variance)", "test_layer_norm"),
    ("outside_root ignored", RANGE, "if (eps.outside || eps.value > 0x1p900)\n    for",
     "if (eps.value > 0x1p900)\n    for", "test_rms_norm"),
    ("outside_root of LayerNorm ignored", RANGE, "if (eps.outside)\n    for", "if (false)\n    for",
     "test_layer_norm"),
    ("n off by one", ORIGIN, "static_cast<double>(k == whole_row ? n : k)",
     "static_cast<double>((k == whole_row ? n : k) + 1)", "test_rms_norm"),
    ("the statistic from all of the row", ORIGIN,
     "find_squares<T>(n, k == whole_row ? n : k, first, again, eps, found)",
     "find_squares<T>(n, n, first, again, eps, found)", "test_rms_norm"),
    ("heads of 128 taken for 64", LOOPS, "return at(length_of<128>{});",
     "return at(length_of<64>{});", "test_bits"),
    ("the sample variance", STATISTIC, "t.of[0] * share, t.of[1] * share};",
     "t.of[0] * share, t.of[1] / (length - 1)};", "test_layer_norm"),
    ("zeros at eps = 0 become NaN", RANGE, "return root == 0 ? 0 : 1 / root;", "return 1 / root;",
     "test_range"),
    ("zeros in double at eps = 0 become NaN", RANGE, "|| sum < 0x1p-1000)", ")", "test_extremes"),
    ("zeros of float in double at eps = 0 become NaN", STATISTIC,
     "holds_squares<T>(sum, eps) : sum != 0;", "holds_squares<T>(sum, eps) : true;",
     "test_extremes"),
    ("equal numbers of float in double at eps = 0 become NaN", STATISTIC,
     "found.scale = zero ? factor_is_0 : held;", "found.scale = held;", "test_extremes"),
    ("rstd not given", SOURCE, "data[i * step] = static_cast<S>(v);",
     "data[0] = static_cast<S>(v);", "test_rms_norm"),
    # The mean.
    ("mean not corrected", STATISTIC, "fma(-a.delta, a.delta, a.square)", "a.square",
     "test_layer_norm"),
    ("the rest of the mean dropped", FORWARD, "splat(static_cast<T>(-m.rest * r))", "splat(T(0))",
     "test_layer_norm"),
    ("a bad guess of the mean kept", STATISTIC,
     "least_square_ratio<T> * a.delta * a.delta <= a.square", "true", "test_layer_norm"),
    ("doubles around as bad a guess as floats", STATISTIC, "std::is_same_v<T, double> ? 3 : 2", "2",
     "test_layer_norm"),
    ("the mean found again once at most", STATISTIC, "pass < 2", "pass < 1", "test_layer_norm"),
    ("beta dropped", GAIN,
     "if constexpr (Gamma::present && Beta::present) return fma(z, gamma(at), beta(at));",
     "if constexpr (Gamma::present && Beta::present) return z * gamma(at);",
     "test_layer_norm"),
    # Words.
    ("after_rounding dropped", GAIN, "if constexpr (rounds) z = rounded_to<X>(at, z);", "",
     "test_rms_norm"),
    ("after_rounding dropped inside one_plus", GAIN,
     "rounds_first<one_plus_row<Gamma>> = rounds_first<Gamma>;",
     "rounds_first<one_plus_row<Gamma>> = false;", "test_rms_norm"),
    ("after_rounding dropped before a gate", GAIN,
     "rounds_first<gated_row<Gamma, Z>> = rounds_first<Gamma>;",
     "rounds_first<gated_row<Gamma, Z>> = false;", "test_gated"),
    ("one_plus dropped", GAIN, "return gamma(at) + splat(T(1));", "return gamma(at);",
     "test_rms_norm"),
    ("one_plus lost on the way", ARGUMENTS,
     "return with_word<one_plus_row>(to_parameter(a.gamma));", "return to_parameter(a.gamma);",
     "test_rms_norm"),
    ("x and its gate change places", CALLS, "over<gated_row>(matrix_of(x), matrix_of(z));",
     "over<gated_row>(matrix_of(z), matrix_of(x));", "test_gated"),
    ("norm_first without a gate", SOURCE, "else return gate;", "else return splat(T(1));",
     "test_gated"),
    ("the sum is not stored", SOURCE,
     "return store_rounded(at, residual.data, residual(at) + x(at));", "return peek(at);",
     "test_bits"),
    ("the sum is not rounded before its square", SOURCE,
     "return store_rounded(at, residual.data, residual(at) + x(at));",
     "const pack<T> sum = residual(at) + x(at);\n    store(at, residual.data, sum);\n"
     "    return sum;", "test_bits"),
    # Rows.
    ("stride ignored", ARGUMENTS, "return {m.data, m.stride};", "return {m.data, m.length};",
     "test_rms_norm"),
    ("heads in the wrong order", SOURCE,
     "i / per_token * token_stride + i % per_token * stride",
     "i % per_token * token_stride + i / per_token * stride", "test_rms_norm"),
    ("every head gets the first gamma", GAIN,
     "return {data + (i < count ? i : i % count) * stride};", "return {data};", "test_rms_norm"),
    ("the last row of a block left out", LOOPS, "if (++j == m) break;",
     "if (++j + 1 >= m) break;", "test_rms_norm"),
    ("the rows of the last block as many as of others", LOOPS,
     "const std::size_t m = end - i < block ? end - i : block;", "const std::size_t m = block;",
     "test_rms_norm"),
    ("the second half with another row's statistic", LOOPS,
     "for (std::size_t j = 0;; factor = r[j])", "for (std::size_t j = 0;; factor = r[0])",
     "test_rms_norm"),
    ("one row alone with another eps", RANGE,
     "if (m == 1) return reciprocal_rms(last, length, eps);",
     "if (m == 1) return reciprocal_rms(last, length, 0);", "test_bits"),
    ("one row alone of LayerNorm without eps", RANGE,
     "if (m == 1) return reciprocal_root(last, eps);",
     "if (m == 1) return reciprocal_root(last, 0);", "test_layer_norm"),
    ("the factors of the last rows left out", STORAGE,
     "for (; i < m; ++i) numbers[i] = f(numbers[i]);", "", "test_rms_norm"),
    ("the end of a row left out", SINK,
     "if (!ROWNORM_LIKELY(rest == 0)) y.put(at(n - width), last);", "", "test_rms_norm"),
    ("the beginning of a row left out", SINK,
     "if (!ROWNORM_LIKELY(head == 0)) y.put(at(0), first);", "", "test_rms_norm"),
    ("the beginning of a row longer than a pack", SINK,
     "of_pack < register_bytes ? of_pack : register_bytes", "register_bytes", "test_rms_norm"),
    ("the end of a row with sums over rows left out", SINK, "part(n - rest, rest);", "",
     "test_rms_norm_backward"),
    ("the beginning of a row with sums over rows left out", SINK, "else part(0, head);", "",
     "test_rms_norm_backward"),
    ("a row with sums over rows found twice", BACKWARD,
     "constexpr bool pure = std::is_same_v<G, row_sums<none_t>> && "
     "std::is_same_v<B, row_sums<none_t>>;", "constexpr bool pure = true;",
     "test_rms_norm_backward"),
    ("the end of a row found after y was stored over x", SINK,
     "y.put(at(n - width), last);", "y.put(at(n - width), value(at(n - width)));", "test_bits"),
    ("the beginning of a row found after y was stored over x", SINK, "y.put(at(0), first);",
     "y.put(at(0), value(at(0)));", "test_bits"),
    ("what goes past the cache left out", SINK, "y.put(streamed(at(i)), v);", "", "test_bits"),
    ("past the cache where a row does not begin a register", SINK,
     "y.streaming && starts_register(y.data + head)", "y.streaming", "test_bits"),
    # Heads.
    ("one head of all tokens taken for all heads of one", SOURCE,
     "across ? token_stride : stride * rows.step", "stride", "test_rms_norm"),
    ("y's heads taken for x's", SOURCE,
     "agreed = agreed == 0 || agreed == n ? n : do_not_agree;", "agreed = n;", "test_rms_norm"),
    ("heads that do not agree taken for one token", LOOPS,
     "agreed == do_not_agree ? 1 : agreed", "agreed", "test_rms_norm"),
    ("heads that do not agree taken head by head", LOOPS,
     "of_token == agreed && of_token < few && tokens > 1", "of_token < few && tokens > 1",
     "test_rms_norm"),
    ("head by head of 32 tokens that are not there", LOOPS,
     "left / of_token < at_once ? left / of_token : at_once;", "at_once;", "test_rms_norm"),
    ("the gamma of another head", GAIN, "data + rows.first % count * stride",
     "data + rows.first / count * stride", "test_rms_norm"),
    ("all gammas for the rows of one head", GAIN, "rows.step > 1 ? 1 : count", "count",
     "test_rms_norm"),
    ("rstd of heads in the first rows", SOURCE, "data + rows.first * step", "data",
     "test_rms_norm"),
    ("rstd of one head side by side", SOURCE, "rows.step * step", "step", "test_rms_norm"),
    ("scales of heads side by side", SOURCE,
     "S* at_row(std::size_t i) const { return data + i * step; }",
     "S* at_row(std::size_t i) const { return data + i; }", "test_rms_norm"),
    ("saved statistics of heads side by side", ORIGIN,
     "return {mean.take(rows), rstd.take(rows)};", "return *this;", "test_rms_norm"),
    ("the heads of a gate from the first token", SOURCE, "return taken{{get<I>().take(rows)}...};",
     "return taken{{get<I>().take(row_span{0, rows.step, rows.count})}...};", "test_rms_norm"),
    ("a part of a token taken for all of it", LOOPS, "rest_of_token = of_token - i % of_token;",
     "rest_of_token = of_token;", "test_parallel"),
    # Saved statistics.
    ("the second half of a saved row by another", LOOPS, "rows.first(i, known);",
     "rows.first(begin, known);", "test_saved"),
    ("saved statistics of the first row for all", ORIGIN, "const R r = *rstd.at_row(i);",
     "const R r = *rstd.at_row(0);", "test_saved"),
    ("a saved statistic that float does not hold", ORIGIN, "return holds ? held : 1;",
     "return held;", "test_again"),
    ("the rest of a saved mean dropped", ORIGIN, "found = {nearest, s.mean - nearest, s.r, scale};",
     "found = {nearest, 0, s.r, scale};", "test_saved"),
    ("a saved rstd of infinity taken as it is", ORIGIN,
     "if (ROWNORM_LIKELY(s.known)) found = {s.r, scale_of<T>(s)};",
     "if (true) found = {s.r, scale_of<T>(s)};", "test_saved"),
    ("a saved rstd of infinity taken as it is by LayerNorm", ORIGIN,
     "if (ROWNORM_LIKELY(s.known)) found = {nearest, s.mean - nearest, s.r, scale};",
     "if (true) found = {nearest, s.mean - nearest, s.r, scale};", "test_saved"),
    # int8.
    ("int8 of the largest of all for a part of the row", ORIGIN,
     "if (k == whole_row) return find_squares<T>", "return find_squares<T>", "test_quantized"),
    ("the largest before after_rounding", FORWARD,
     "&&\n                               "
     "!decltype(std::declval<const Affine&>().at_row(0u))::rounds;", ";", "test_quantized"),
    ("a largest not found taken for one", FORWARD, "peak < 0 ? -1 : peak * r", "peak * r",
     "test_quantized"),
    ("a largest that left the range of float", STATISTIC, "found.peak = told ? t.of[1] : -1;",
     "found.peak = t.of[1];", "test_quantized"),
    ("a NaN passed over by the largest", FORWARD, "return t.of[0] == 0 ? t.of[1] :",
     "return true ? t.of[1] :", "test_quantized"),
    ("tiny numbers of int8 not enlarged", SINK, "v = finite ? of_peak.enlarged(v) : splat(T(0));",
     "v = finite ? v : splat(T(0));", "test_quantized"),
    ("tiny numbers of int8 not enlarged for a given scale", SINK, "scale.enlarged(v) *", "v *",
     "test_quantized"),
    ("1 / scale of infinity", SINK, "static_cast<T>(inverse < most ? inverse : most)",
     "static_cast<T>(inverse)", "test_quantized"),
    ("int8 wraps around", SINK, "minimum(maximum(q, splat(T(-128))), splat(T(127)))", "q",
     "test_quantized"),
    # The sum.
    ("tail not zeroed", STATISTIC,
     "const pack<T> d = zero_beyond(at, x(at) + less);\n    s = s + d;",
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
    ("a strip added twice", SUM, "both[] = {s.lane[k()][0], other.lane[k()][0]};",
     "both[] = {s.lane[k()][0], s.lane[k()][0]};", "test_sum"),
    ("the odd number of a part of bfloat16 left out", AVX2, "if (n % 2 == 0) return pairs;",
     "return pairs;", "test_storage"),
    ("a lane added twice", SUM, "combine(v[p()].a, v[p() + N / 2].a)",
     "combine(v[p()].a, v[p()].a)", "test_sum"),
    ("lanes in another order", SUM,
     "combine(v[p()].a, v[p() + N / 2].a), combine(v[p()].b, v[p() + N / 2].b)",
     "combine(v[p()].a, v[N - 1 - p()].a), combine(v[p()].b, v[N - 1 - p()].b)", "test_sum"),
    ("the last lane left out", BATCH, "combine(first_lane(v), first_lane(lanes_from<1>(v)))",
     "combine(first_lane(v), first_lane(v))", "test_sum"),
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
    ("a bfloat16 NaN becomes Inf", FORMAT, "bits | words(0x00400000u),",
     "bits & words(0xff800000u),", "test_storage"),
    ("a gate far below opens again", SILU, "T(89) : T(710)", "T(87) : T(700)", "test_gated"),
    # The range.
    ("float fallback dropped", STATISTIC,
     "may_leave_range<T, Again> ? holds_squares<T>(sum, eps) :",
     "may_leave_range<T, Again> ? true :", "test_range"),
    ("tiny rows taken for zeros", SOURCE, "std::numeric_limits<T>::denorm_min());", "T(1e-30));",
     "test_range"),
    ("what was met before a NaN passed over", SOURCE, "s = s + abs(x(at));",
     "s = maximum(s, abs(x(at)));", "test_extremes"),
    ("what is behind the first k zeros not looked at", STATISTIC,
     "if (sum == 0 && holds_zeros(n, x))", "if (sum == 0)", "test_extremes"),
    ("zeros held", RANGE, "held = 0, factor_is_0 = -1;", "held = 0, factor_is_0 = 0;",
     "test_extremes"),
    ("zeros done again", FORWARD, "if (scale != factor_is_0) return scale_again",
     "return scale_again", "test_extremes"),
    ("zeros times an infinite factor", FORWARD, "    r = 0;\n  }", "  }", "test_extremes"),
    ("infinity times a factor of 0", FORWARD, "r == 0 ? 1 : square_root(scale)",
     "square_root(scale)", "test_extremes"),
    ("small squares taken as they are", RANGE,
     "in_range(sum, least_squares<T>, overflow_threshold<T>)",
     "in_range(sum, 0.0, overflow_threshold<T>)", "test_range"),
    ("a factor that is no float", RANGE,
     "&&\n         eps.value < (eps.outside ? factor_threshold_outside<T> : factor_threshold<T>);",
     ";", "test_range"),
    ("a factor that is no float by LayerNorm", RANGE,
     "&&\n         !(eps.outside && eps.value >= factor_threshold_outside<T>);", ";", "test_again"),
    ("eps not seen beside the variance", RANGE, "variance + (eps.outside ? 0 : eps.value)",
     "variance", "test_again"),
    ("doubles not scaled up", RANGE, "std::fabs(mean) >= 0x1p-300 ? 1 : 0x1p600", "true",
     "test_range"),
    ("doubles not scaled down", RANGE, "if (!(mean_square < 1)) return 0x1p-600;", "",
     "test_range"),
    ("small doubles beside an eps scaled up", RANGE, "lost || std::fabs", "std::fabs",
     "test_extremes"),
    ("eps not scaled", RANGE, "epsilon(eps.value * scale * scale)", "epsilon(eps.value)",
     "test_range"),
    ("eps outside the root not scaled", RANGE, "outside_root(eps.value * scale)",
     "outside_root(eps.value)", "test_range"),
    ("layer_norm fallback dropped", STATISTIC,
     "if (!ROWNORM_LIKELY(holds_variance<T>(m.variance, eps)))", "if (false)", "test_range"),
    ("rstd of a scaled row as it is", FORWARD, "rstd.set(i, s.scale > 0 ? r * s.scale : r);",
     "rstd.set(i, r);", "test_extremes"),
    ("rstd of a scaled row of LayerNorm as it is", FORWARD,
     "scaled ? statistic.unscaled(m, r) : r", "r", "test_extremes"),
    ("mean of a scaled row as it is", FORWARD,
     "scaled ? (m.mean + m.rest) / m.scale : m.mean + m.rest", "m.mean + m.rest",
     "test_range"),
    ("rstd of equal numbers from a scaled eps", ORIGIN,
     "return m.variance == 0 ? reciprocal_root(0, eps) : r * m.scale;", "return r * m.scale;",
     "test_extremes"),
    # A row done again.
    ("a row done again: its scale dropped", AGAIN, "read(row, erased(at)) * splat(scale)",
     "read(row, erased(at))", "test_extremes"),
    ("a row done again: all of its scale with the numbers", FORWARD,
     "wide.scale = r == 0 ? 1 : square_root(scale);\n"
     "  write_again(n, scaled_row<double, erased_source>(wide, r * wide.scale), affine, y);",
     "wide.scale = r == 0 ? 1 : scale;\n"
     "  write_again(n, scaled_row<double, erased_source>(wide, r), affine, y);", "test_extremes"),
    ("a row done again: its scale dropped by LayerNorm", FORWARD, "wide.scale = m.scale;", "",
     "test_extremes"),
    ("a row done again: gamma and beta dropped", AGAIN,
     "return (*static_cast<const Affine*>(affine))(at, z);", "return z;", "test_again"),
    ("a row done again: its first pack for all", AGAIN, "return {at.i, pack_width<double>};",
     "return {0, pack_width<double>};", "test_again"),
    ("a row done again: the last number of a pack left out", AGAIN,
     "return {at.i, pack_width<double>};", "return {at.i, pack_width<double> - 1};", "test_again"),
    ("a row done again: not written", AGAIN, "static_cast<Row*>(row)->put(at, v);", "",
     "test_again"),
    ("a row done again: written where it is added to", SINK, "store(at, row.data, row(at) + v);",
     "store(at, row.data, v);", "test_again"),
    ("a row done again: its scale of int8 for float", FORWARD,
     "if constexpr (needs_peak<Y>) y.begin(peak_erased(n, normalized, scale));", "",
     "test_quantized"),
    ("a row done again: not added to dgamma", ROW_SUMS,
     "static_cast<const Sums*>(sums)->add(at, x, y);", "", "test_again"),
    ("a row done again: not added to dbeta", ROW_SUMS, "pack<double> y = splat(1.0)",
     "pack<double> y = splat(0.0)", "test_again"),
    # Gradients.
    ("the gradient of the root dropped", BACKWARD, "fma(h, slope, g) * r", "g * r",
     "test_rms_norm_backward"),
    ("dgamma without the normalized number", BACKWARD, "dgamma.add(at, v, h);",
     "dgamma.add(at, v, g);", "test_rms_norm_backward"),
    ("the mean of g dropped", BACKWARD, "shift = splat(static_cast<T>(-f.shift))",
     "shift = splat(T(0))", "test_layer_norm_backward"),
    ("written where it is added to", SINK, "return y.row(at) + v;", "return v;",
     "test_rms_norm_backward"),
    ("eps outside the root taken for one under it", GRADIENT, "if (!eps.outside) return 1;",
     "return 1;", "test_rms_norm_backward"),
    ("the sum of g * x not moved to the mean", GRADIENT,
     "fma(-a.delta, a.sums.of[2], a.sums.of[3])", "a.sums.of[3]", "test_layer_norm_backward"),
    ("a saved rstd dropped", GRADIENT,
     "saved.known ? saved.r / scale : reciprocal_rms(s.squares, length, scaled(eps, scale));",
     "reciprocal_rms(s.squares, length, scaled(eps, scale));", "test_rms_norm_backward"),
    ("a saved rstd of infinity known", ORIGIN,
     "r == 0 || in_range(r, (std::numeric_limits<R>::min)(), std::numeric_limits<R>::infinity());",
     "true;", "test_rms_norm_backward"),
    ("a saved mean found anew", GRADIENT, "<= saved.rounding * scale)) a.delta = given;",
     "<= saved.rounding * scale)) a.delta += 0;", "test_layer_norm_backward"),
    ("a saved mean taken as it is", GRADIENT,
     "if (saved.known && !(std::fabs(a.delta - given) <= saved.rounding * scale)) a.delta = given;",
     "if (saved.known) a.delta = given;", "test_layer_norm_backward"),
    ("sums over dy beyond float", GRADIENT,
     "if (!(squares_held && holds_sum<T>(t.of[1], n, x, dy)))", "if (!squares_held)",
     "test_rms_norm_backward"),
    ("sums over dy beyond float by LayerNorm", GRADIENT,
     "holds_sum<T>(a.sums.of[2], n, dy) && holds_sum<T>(a.sums.of[3], n, dy)", "true",
     "test_layer_norm_backward"),
    ("a gradient done again: its scale dropped", BACKWARD, "x.scale = f.scale;", "",
     "test_rms_norm_backward"),
    ("a gradient done again: not scaled back", BACKWARD,
     "? d * splat(static_cast<T>(f.scale)) : d", "? d : d", "test_rms_norm_backward"),
    ("every head's gradient to the first gamma", ROW_SUMS, "partial + i % heads * length",
     "partial", "test_gradient_bits"),
    ("the sums of a gradient's one block dropped", ROW_SUMS, "else add(A{}, sums.partial);", "",
     "test_rms_norm_backward"),
    ("the gradient of one row added twice", SCRATCH,
     "if (!in_gradient()) add_total", "add_total", "test_gradient_bits"),
    ("two blocks of a gradient taken for one", SCRATCH,
     "rows > rows_per_block ?", "rows > 2 * rows_per_block ?", "test_gradient_bits"),
    ("a block of rows forgotten in dgamma", ROW_SUMS,
     "if ((i + 1) % rows_per_block == 0 || i + 1 == end)",
     "if (i + 1 == end && i < rows_per_block)", "test_rms_norm_backward"),
    ("a wave of blocks not put away", PARALLEL, "if (blocks > 1) (put_away(some, sums), ...);",
     "", "test_parallel"),
    # Rows over processes.
    ("the distance of two shards' means dropped", TOGETHER,
     "a.squares + b.squares + delta * delta * (a.count * part)", "a.squares + b.squares",
     "test_mpi"),
    ("the rest of two shards' mean dropped", TOGETHER, "mean.error + a.rest", "0", "test_mpi"),
    ("squares of shards at two scales", TOGETHER, "return squares * ratio * ratio;",
     "return squares;", "test_mpi"),
    ("g * x of shards at two scales", TOGETHER,
     "a.gx * (x.scale / a.x.scale) + b.gx * (x.scale / b.x.scale)", "a.gx + b.gx", "test_mpi"),
    ("g * x of a shard around its own mean", TOGETHER, "+ shard.g * distance", "", "test_mpi"),
    ("a shard of zeros at a scale of 1", TOGETHER, "squares == 0 ? scale_for(0, 0, eps) : scale > 0",
     "scale > 0", "test_mpi"),
    ("a shard whose sums overflow at its scale", TOGETHER,
     "return sum.squares <= factor_threshold<double> || scale == least_scale ? sum",
     "return true ? sum", "test_mpi"),
    ("g beyond float in another shard", TOGETHER, "(wide || !holds_factor<T>(all.gx, f.slope))",
     "wide", "test_mpi"),
    ("a shard's length taken for a row's", MPI, "reciprocal_rms(s.sum, length(), scaled",
     "reciprocal_rms(s.sum, static_cast<double>(rows.n), scaled", "test_mpi"),
    ("rstd of a scaled shard as it is", MPI, "rows.rstd.set(i, r * shards[i].scale);",
     "rows.rstd.set(i, r);", "test_mpi"),
    ("columns that are not D let through", MPI, "if (of_all != length())", "if (false)",
     "test_mpi"),
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
    ("a k that means the whole row let through", ORIGIN, "k == whole_row ? k - 1 : k", "k",
     "test_check"),
    ("checks left out of partial_rms_norm", CALLS,
     "if (k != whole_row) checks(function).statistic_length(k, seen(\"x\", x));", "", "test_check"),
    ("overlap of y and x let through", CHECK, "rule.same_or_apart(a.y, a.x) &&", "", "test_check"),
    ("overlap of y and a gate let through", CHECK, "rule.same_or_apart(a.y, a.z) &&", "",
     "test_check"),
    ("a gate of another shape let through", CHECK, "rule.matrix(a.z, a.x) &&", "", "test_check"),
    ("overlap of y and gamma let through", CHECK,
     "rule.apart(a.y, a.residual, a.gamma, a.beta)",
     "rule.apart(a.y, a.residual, a.beta)", "test_check"),
    ("dgamma's count beside gamma's not checked", CHECK, "rule.same_count(a.dgamma, a.gamma) &&",
     "", "test_check"),
    ("a last number shared by two strides let through", OVERLAP, "v - gap - 1)", "v - gap + 3)",
     "test_check"),
    ("the first of two strides' blocks not asked", OVERLAP, "(d - wide) / s + 1;",
     "(d - wide) / s + 2;", "test_check"),
]


def run(command, seconds=None):
    return subprocess.run(command, capture_output=True, text=True, errors="replace",
                          timeout=seconds)


def fault_of(file, old, headers):
    """What is wrong with the text of a mutant, or nothing."""
    times = (headers / file).read_text().count(old)
    return "" if times == 1 else f"its text is {times} times in {file}"


def failure_of(test, headers, program, flags, here, given):
    """What a test makes of the headers: nothing, does not compile, or fails."""
    on_mpi = test == "test_mpi"
    built = run(["mpicxx" if on_mpi else given.compiler, "-std=c++17", *flags.split(),
                 f"-I{headers}", *(f"-idirafter{i}" for i in given.include), str(here / f"{test}.cpp"),
                 "-o", str(program), *given.libraries.split()])
    if built.returncode != 0:
        return "does not compile:\n" + built.stderr[:2000]
    try:
        processes = ["mpiexec", "-n", "3"] if on_mpi else []
        return "fails" if run([*processes, str(program)], 900).returncode != 0 else ""
    except subprocess.TimeoutExpired:
        return "fails"


def verdict_of(mutant, folder, here, given):
    _, file, old, new, test = mutant
    headers = folder / "include"
    shutil.copytree(here.parent / "include", headers)
    wrong = fault_of(file, old, headers)
    if wrong:
        return wrong
    (headers / file).write_text((headers / file).read_text().replace(old, new))
    # A CPU with AVX-512 compiles no line for AVX2 alone, and folds and strips only there.
    flags = given.flags + (" -march=x86-64-v3" if file in FOR_AVX2 else "")
    failure = failure_of(test, headers, folder / test, flags, here, given)
    shutil.rmtree(folder)
    return "caught" if failure == "fails" else failure or "missed"


def main():
    here = pathlib.Path(__file__).resolve().parent
    options = argparse.ArgumentParser()
    options.add_argument("--compiler", default="c++")
    options.add_argument("--flags", default="-O1 -march=native")
    options.add_argument("--libraries", default="-lgtest_main -lgtest")
    options.add_argument("--include", action="append", default=[])
    options.add_argument("--texts", action="store_true")
    options.add_argument("names", nargs="*")
    given = options.parse_args()
    chosen = [m for m in MUTANTS if not given.names or m[0] in given.names or m[4] in given.names]

    if given.texts:
        wrong = [f"{w}: {name}" for name, file, old, _, _ in chosen
                 if (w := fault_of(file, old, here.parent / "include"))]
        print("\n".join(wrong + [f"{len(chosen) - len(wrong)} of {len(chosen)} texts are there"]))
        return bool(wrong)

    if not (shutil.which("mpicxx") and shutil.which("mpiexec")):
        print("left out, no MPI: test_mpi", flush=True)
        chosen = [m for m in chosen if m[4] != "test_mpi"]
    # Open MPI's compiler, and its processes: more than cores, which yield; and root in a container.
    os.environ.update(OMPI_CXX=given.compiler, OMPI_MCA_rmaps_base_oversubscribe="1",
                      OMPI_MCA_mpi_yield_when_idle="1", OMPI_ALLOW_RUN_AS_ROOT="1",
                      OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")

    # Each in folders of its own, as many at once as there are cores for this process.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with tempfile.TemporaryDirectory() as name, \
            concurrent.futures.ThreadPoolExecutor(cores) as pool:
        folder = pathlib.Path(name)
        # A test that fails anyway catches nothing.
        tests = sorted({m[4] for m in chosen})
        failures = pool.map(
            lambda test: failure_of(test, here.parent / "include", folder / test, given.flags,
                                    here, given), tests)
        sound = set()
        for test, failure in zip(tests, failures):
            if failure:
                print(f"without a mutant {test} {failure}", flush=True)
            else:
                sound.add(test)
        left = [m for m in chosen if m[4] in sound]
        verdicts = pool.map(lambda i: verdict_of(left[i], folder / str(i), here, given),
                            range(len(left)))
        caught = 0
        for (name, _, _, _, test), verdict in zip(left, verdicts):
            print(f"{verdict}: {name} ({test})", flush=True)
            caught += verdict == "caught"
    print(f"{caught} of {len(chosen)} caught")
    return caught != len(chosen)


sys.exit(main())
