// SPDX-License-Identifier: MIT
// Every error of every argument of every call, word by word, and that nothing was written by then.
#include <array>
#include <functional>
#include <optional>
#include <regex>
#include <rownorm/rownorm.hpp>
#include <stdexcept>
#include <string>

#include "reference.hpp"

namespace rn = rownorm;

namespace {

/// Two rows of four numbers for every call, all right as they stand.
struct arguments {
  std::array<float, 512> memory{};
  rn::rows<float> x{&memory[0], 2, 4}, residual{&memory[32], 2, 4}, y{&memory[64], 2, 4};
  rn::rows<float> gamma{&memory[96], 1, 4}, beta{&memory[128], 1, 4};
  rn::rows<float> mean{&memory[160], 1, 2}, rstd{&memory[192], 1, 2};
  rn::rows<float> z{&memory[48], 2, 4}, dy{&memory[256], 2, 4}, dx{&memory[288], 2, 4};
  rn::rows<float> dgamma{&memory[320], 1, 4}, dbeta{&memory[352], 1, 4};
  std::size_t k = 3;
  rn::epsilon eps = 1e-6;

  arguments() {
    for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>(i % 7) + 1;
  }
  arguments(const arguments&) = delete;
};

using names = std::vector<std::string>;
struct function {
  std::string name;
  names takes;
  void (*call)(arguments&);
};
const std::vector<function> functions{
    {"rms_norm",
     {"x", "gamma", "y", "eps", "rstd"},
     [](arguments& a) { rn::rms_norm(a.x, a.gamma, a.y, a.eps, a.rstd); }},
    {"partial_rms_norm",
     {"x", "k", "gamma", "y", "eps", "rstd"},
     [](arguments& a) { rn::partial_rms_norm(a.x, a.k, a.gamma, a.y, a.eps, a.rstd); }},
    {"add_rms_norm",
     {"x", "residual", "gamma", "y", "eps", "rstd"},
     [](arguments& a) { rn::add_rms_norm(a.x, a.residual, a.gamma, a.y, a.eps, a.rstd); }},
    {"layer_norm",
     {"x", "gamma", "beta", "y", "eps", "mean", "rstd"},
     [](arguments& a) { rn::layer_norm(a.x, a.gamma, a.beta, a.y, a.eps, a.mean, a.rstd); }},
    {"add_layer_norm",
     {"x", "residual", "gamma", "beta", "y", "eps", "mean", "rstd"},
     [](arguments& a) {
       rn::add_layer_norm(a.x, a.residual, a.gamma, a.beta, a.y, a.eps, a.mean, a.rstd);
     }},
    {"gated_rms_norm",
     {"x", "z", "gamma", "y", "eps"},
     [](arguments& a) { rn::gated_rms_norm(a.x, a.z, a.gamma, a.y, a.eps); }},
    {"rms_norm_backward",
     {"dy", "x", "gamma", "dx", "dgamma", "eps"},
     [](arguments& a) { rn::rms_norm_backward(a.dy, a.x, a.gamma, a.dx, a.dgamma, a.eps); }},
    {"rms_norm_backward",
     {"dy", "x", "gamma", "dx", "dgamma", "saved", "rstd"},
     [](arguments& a) {
       rn::rms_norm_backward(a.dy, a.x, a.gamma, a.dx, a.dgamma, rn::saved(a.rstd));
     }},
    {"add_rms_norm_backward",
     {"dy", "x", "gamma", "dx", "dgamma", "eps"},
     [](arguments& a) { rn::add_rms_norm_backward(a.dy, a.x, a.gamma, a.dx, a.dgamma, a.eps); }},
    {"layer_norm_backward",
     {"dy", "x", "gamma", "dx", "dgamma", "dbeta", "eps"},
     [](arguments& a) {
       rn::layer_norm_backward(a.dy, a.x, a.gamma, a.dx, a.dgamma, a.dbeta, a.eps);
     }},
    {"layer_norm_backward",
     {"dy", "x", "gamma", "dx", "dgamma", "dbeta", "saved", "mean", "rstd"},
     [](arguments& a) {
       rn::layer_norm_backward(a.dy, a.x, a.gamma, a.dx, a.dgamma, a.dbeta,
                               rn::saved(a.mean, a.rstd));
     }},
    {"add_layer_norm_backward",
     {"dy", "x", "gamma", "dx", "dgamma", "dbeta", "eps"},
     [](arguments& a) {
       rn::add_layer_norm_backward(a.dy, a.x, a.gamma, a.dx, a.dgamma, a.dbeta, a.eps);
     }},
};

/// What a call says of its arguments, none where it does its work.
std::optional<std::string> error(const function& f, arguments& a) {
  try {
    f.call(a);
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return std::nullopt;
}

bool takes(const function& f, const names& needed) {
  return std::all_of(needed.begin(), needed.end(), [&](const std::string& name) {
    return std::find(f.takes.begin(), f.takes.end(), name) != f.takes.end();
  });
}

using spoil = std::function<void(arguments&)>;

/// The gradients behind an add have other names for x and dx: h and dh.
std::string in_words_of(const function& f, const std::string& text) {
  const bool add = f.name == "add_rms_norm_backward" || f.name == "add_layer_norm_backward";
  return add ? std::regex_replace(text, std::regex("\\b(d?)x\\b"), "$1h") : text;
}

/// Each function that takes all of `needed` says `text` of the spoiled arguments, and writes
/// nothing.
void expect_error(const names& needed, const spoil& spoiled, const std::string& text) {
  for (const function& f : functions) {
    if (!takes(f, needed)) continue;
    arguments a;
    spoiled(a);
    const auto before = a.memory;
    EXPECT_EQ(error(f, a).value_or("no error"), f.name + ": " + in_words_of(f, text));
    EXPECT_EQ(a.memory, before) << f.name << " wrote before it found: " << text;
  }
}

/// Each function that takes all of `needed` does its work.
void expect_none(const names& needed, const spoil& changed) {
  for (const function& f : functions) {
    if (!takes(f, needed)) continue;
    arguments a;
    changed(a);
    EXPECT_EQ(error(f, a).value_or("no error"), "no error") << f.name;
  }
}

using member = rn::rows<float> arguments::*;
const std::vector<std::pair<std::string, member>> matrices{
    {"x", &arguments::x},   {"residual", &arguments::residual},
    {"y", &arguments::y},   {"z", &arguments::z},
    {"dy", &arguments::dy}, {"dx", &arguments::dx}};
const std::vector<std::pair<std::string, member>> parameters{{"gamma", &arguments::gamma},
                                                             {"beta", &arguments::beta},
                                                             {"dgamma", &arguments::dgamma},
                                                             {"dbeta", &arguments::dbeta}};
const std::vector<std::pair<std::string, member>> columns{{"mean", &arguments::mean},
                                                          {"rstd", &arguments::rstd}};

TEST(Check, WhatIsRightIsRight) {
  expect_none({}, [](arguments&) {});
}

TEST(Check, Null) {
  for (const auto& [name, m] : matrices)
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).data = nullptr; },
        name + " is null, it should hold 2 rows of 4 numbers");
  for (const auto& [name, m] : parameters)
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).data = nullptr; },
        name + " is null, it should hold 1 row of 4 numbers");
  for (const auto& [name, m] : columns)
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).data = nullptr; },
        name + " is null, it should hold 1 row of 2 numbers");
}

TEST(Check, Stride) {
  for (const auto& [name, m] : matrices)
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).stride = 3; },
        name + " has a stride of 3 numbers, its rows take 4");
  for (const auto& [name, m] : parameters)
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).stride = 1; },
        name + " has a stride of 1 number, its rows take 4");
  for (const auto& [name, m] : matrices)
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).stride = std::size_t{1} << 60; },
        name +
            " has 2 rows and a stride of 4611686018427387904 bytes, more than memory "
            "can hold");
  for (const auto& [name, m] : matrices)
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).stride = static_cast<std::size_t>(-9); },
        name + " has a negative stride, -9 numbers: its rows must follow each other in memory");
  // One row does not care how far the next would be.
  for (const auto& [name, m] : parameters)
    expect_none({name}, [m = m](arguments& a) { (a.*m).stride = std::size_t{1} << 61; });
}

TEST(Check, TheLengthThatTheTypeFixes) {
  arguments a;
  const auto before = a.memory;
  const auto error_of = [](auto call) -> std::string {
    try {
      call();
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "none";
  };
  const rn::rows<float, 4> x(&a.memory[0], 2), y(&a.memory[64], 2, 4);
  EXPECT_EQ(error_of([&] { rn::rms_norm(rn::rows<float, 5>(a.x.data, 2, 4), a.gamma, a.y); }),
            "rms_norm: the rows of x have 4 numbers, those of its type have 5");
  EXPECT_EQ(error_of([&] { rn::rms_norm(x, a.gamma, rn::rows<float, 1>(a.y.data, 2, 4)); }),
            "rms_norm: the rows of y have 4 numbers, those of its type have 1");
  EXPECT_EQ(error_of([&] {
              rn::layer_norm_backward(a.dy, a.x, rn::rows<float, 3>(a.gamma.data, 1, 4), a.dx,
                                      a.dgamma, a.dbeta);
            }),
            "layer_norm_backward: the rows of gamma have 4 numbers, those of its type have 3");
  EXPECT_EQ(a.memory, before);
  EXPECT_EQ(error_of([&] { rn::rms_norm(x, a.gamma, y); }), "none");
}

TEST(Check, Shapes) {
  for (const auto& [name, m] : matrices) {
    if (name == "x") continue;
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).count = 3; }, name + " has 3 rows, x has 2");
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).count = 1; }, name + " has 1 row, x has 2");
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).length = 3; },
        "the rows of " + name + " have 3 numbers, the rows of x have 4");
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).length = 1; },
        "the rows of " + name + " have 1 number, the rows of x have 4");
  }
  for (const auto& [name, m] : parameters) {
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).length = 3; },
        name + " has 3 numbers, the rows of x have 4");
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).length = 1; },
        name + " has 1 number, the rows of x have 4");
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).count = 2; },
        name + " has 2 rows, it should have 1");
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).count = 0; },
        name + " has 0 rows, it should have 1");
  }
  for (const auto& [name, m] : columns) {
    expect_error(
        {name}, [m = m](arguments& a) { (a.*m).length = 3; },
        name + " has 3 numbers, x has 2 rows");
    expect_error(
        {name},
        [m = m](arguments& a) {
          a.*m = {(a.*m).data, 3, 1};
        },
        name + " has 3 numbers, x has 2 rows");
    // A column of a wider matrix: its numbers do not lie side by side.
    expect_error(
        {name},
        [m = m](arguments& a) {
          a.*m = {(a.*m).data, 2, 1, 4};
        },
        name + " has 2 numbers, x has 2 rows");
    expect_none({name}, [m = m](arguments& a) { a.*m = {(a.*m).data, 2, 1}; });
  }
}

TEST(Check, Eps) {
  const double inf = std::numeric_limits<double>::infinity();
  expect_error(
      {"eps"}, [](arguments& a) { a.eps = -1; }, "eps is -1, it must be finite and at least 0");
  expect_error(
      {"eps"}, [=](arguments& a) { a.eps = inf; }, "eps is inf, it must be finite and at least 0");
  expect_error(
      {"eps"}, [=](arguments& a) { a.eps = std::numeric_limits<double>::quiet_NaN(); },
      "eps is nan, it must be finite and at least 0");
  expect_error(
      {"eps"}, [](arguments& a) { a.eps = rn::outside_root(-0.5); },
      "eps is -0.5, it must be finite and at least 0");
  expect_none({"eps"}, [](arguments& a) { a.eps = 0; });
  expect_none({"eps"}, [](arguments& a) { a.eps = std::numeric_limits<double>::max(); });
}

TEST(Check, StatisticLength) {
  expect_error(
      {"k"}, [](arguments& a) { a.k = 0; },
      "k is 0, it must be from 1 to 4, the length of the rows of x");
  expect_error(
      {"k"}, [](arguments& a) { a.k = 5; },
      "k is 5, it must be from 1 to 4, the length of the rows of x");
  expect_error(
      {"k"}, [](arguments& a) { a.k = static_cast<std::size_t>(-1); },
      "k is -1, it must be from 1 to 4, the length of the rows of x");
  // The one that stands for a whole row within.
  expect_error(
      {"k"}, [](arguments& a) { a.k = static_cast<std::size_t>(PTRDIFF_MIN); },
      "k is " + std::to_string(PTRDIFF_MAX) +
          ", it must be from 1 to 4, the length of the rows of x");
  expect_none({"k"}, [](arguments& a) { a.k = 1; });
  expect_none({"k"}, [](arguments& a) { a.k = 4; });
}

// -----------------------------------------------------------------------------------------------
// Overlaps.
// -----------------------------------------------------------------------------------------------

const std::string apart = ", and they must lie apart";
const std::string same_or_apart = ", and it must be the same rows or lie apart";

TEST(Check, OutputsLieApartFromWhatIsRead) {
  const auto at = [](float* p) { return rn::rows<float>(p, 2, 4); };
  expect_error(
      {"y"}, [&](arguments& a) { a.y = at(a.x.data + 1); },
      "y overlaps x: it begins 4 bytes after x with a stride of 16 bytes against 16" +
          same_or_apart);
  expect_error(
      {"y"}, [&](arguments& a) { a.x = at(a.y.data + 2); },
      "y overlaps x: it begins 8 bytes before x with a stride of 16 bytes against 16" +
          same_or_apart);
  expect_error(
      {"y"},
      [](arguments& a) {
        a.y = {a.x.data, 2, 4, 5};
      },
      "y overlaps x: it begins 0 bytes after x with a stride of 20 bytes against 16" +
          same_or_apart);
  expect_error(
      {"residual"}, [](arguments& a) { a.residual = a.x; },
      "residual overlaps x: it begins 0 bytes after x with a stride of 16 bytes against "
      "16" +
          apart);
  expect_error(
      {"residual"}, [](arguments& a) { a.y = a.residual; },
      "y overlaps residual: it begins 0 bytes after residual with a stride of 16 bytes "
      "against 16" +
          apart);
  for (const auto& [name, m] : parameters) {
    expect_error(
        {name, "y"}, [m = m](arguments& a) { (a.*m).data = a.y.data + 7; },
        "y overlaps " + name + ": it begins 28 bytes before " + name +
            " with a stride of 16 bytes against 16" + apart);
    expect_error(
        {name, "residual"}, [m = m](arguments& a) { (a.*m).data = a.residual.data - 3; },
        "residual overlaps " + name + ": it begins 12 bytes after " + name +
            " with a stride of 16 bytes against 16" + apart);
  }
}

TEST(Check, StatisticsLieApartFromAll) {
  for (const auto& [name, m] : columns)
    for (const auto& others : {matrices, parameters})
      for (const auto& [other, o] : others)
        expect_error(
            {name, other, "y"}, [m = m, o = o](arguments& a) { (a.*m).data = (a.*o).data + 3; },
            name + " overlaps " + other + ": it begins 12 bytes after " + other +
                " with a stride of 8 bytes against 16" + apart);
  expect_error(
      {"mean", "y"}, [](arguments& a) { a.rstd.data = a.mean.data + 1; },
      "rstd overlaps mean: it begins 4 bytes after mean with a stride of 8 bytes against "
      "8" +
          apart);
}

TEST(Check, AGateMayBeWrittenOver) {
  expect_none({"z"}, [](arguments& a) { a.y = a.z; });
  expect_none({"z"}, [](arguments& a) { a.z = a.x; });
  expect_error(
      {"z"}, [](arguments& a) { a.y.data = a.z.data + 1; },
      "y overlaps z: it begins 4 bytes after z with a stride of 16 bytes against 16" +
          same_or_apart);
}

TEST(Check, GradientsLieApartFromWhatIsRead) {
  using list = std::vector<std::pair<std::string, member>>;
  for (const auto& [name, m] : list{{"dy", &arguments::dy}, {"x", &arguments::x}}) {
    expect_none({"dx"}, [m = m](arguments& a) { a.dx = a.*m; });
    expect_error(
        {"dx"}, [m = m](arguments& a) { a.dx.data = (a.*m).data + 1; },
        "dx overlaps " + name + ": it begins 4 bytes after " + name +
            " with a stride of 16 bytes against 16" + same_or_apart);
  }
  const list read{
      {"gamma", &arguments::gamma}, {"mean", &arguments::mean}, {"rstd", &arguments::rstd}};
  for (const auto& [name, m] : read)
    expect_error(
        {"dx", name}, [m = m](arguments& a) { (a.*m).data = a.dx.data + 1; },
        "dx overlaps " + name + ": it begins 4 bytes before " + name +
            " with a stride of 16 bytes against " + (name == "gamma" ? "16" : "8") + apart);
  const list sums{{"dgamma", &arguments::dgamma}, {"dbeta", &arguments::dbeta}};
  for (const auto& [sum, d] : sums)
    for (const auto& others :
         {list{{"dy", &arguments::dy}, {"x", &arguments::x}}, read, list{{"dx", &arguments::dx}}})
      for (const auto& [name, m] : others)
        expect_error(
            {"dx", sum, name}, [d = d, m = m](arguments& a) { (a.*d).data = (a.*m).data + 1; },
            sum + " overlaps " + name + ": it begins 4 bytes after " + name +
                " with a stride of 16 bytes against " +
                (name == "mean" || name == "rstd" ? "8" : "16") + apart);
  expect_error(
      {"dbeta"}, [](arguments& a) { a.dbeta = a.dgamma; },
      "dbeta overlaps dgamma: it begins 0 bytes after dgamma with a stride of 16 bytes against 16" +
          apart);
}

TEST(Check, WhatOnlyTouchesIsApart) {
  expect_none({"y"}, [](arguments& a) { a.y = a.x; });
  expect_none({"y"}, [](arguments& a) { a.y.data = a.x.data + 8; });
  expect_none({"y"}, [](arguments& a) { a.x.data = a.y.data + 8; });
  expect_none({"residual"}, [](arguments& a) { a.residual.data = a.x.data + 8; });
  expect_none({"rstd"}, [](arguments& a) { a.rstd.data = a.y.data + 8; });
  // Both only read.
  expect_none({"gamma", "beta"}, [](arguments& a) { a.beta = a.gamma; });
  expect_none({}, [](arguments& a) { a.gamma.data = a.x.data; });
  // One row: its stride is never used.
  expect_none({"y"}, [](arguments& a) {
    a.x = {a.x.data, 1, 4};
    a.y = {a.x.data, 1, 4, 6};
    a.residual.count = a.z.count = a.mean.length = a.rstd.length = 1;
  });
}

TEST(Check, BandsOfColumnsOfOneMatrix) {
  const auto bands = [](std::size_t x, std::size_t y, std::size_t stride) {
    return [=](arguments& a) {
      a.x = {a.memory.data() + x, 2, 4, stride};
      a.y = {a.memory.data() + y, 2, 4, stride};
      a.residual = {a.memory.data() + 224, 2, 4};
    };
  };
  expect_none({"y"}, bands(0, 4, 8));
  expect_none({"y"}, bands(4, 0, 8));
  expect_none({"y"}, bands(0, 20, 16));  // a row further down
  expect_error({"y"}, bands(0, 3, 8),
               "y overlaps x: it begins 12 bytes after x with a stride of 32 bytes against 32" +
                   same_or_apart);
  expect_error({"y"}, bands(0, 13, 16),  // y's first row meets x's second
               "y overlaps x: it begins 52 bytes after x with a stride of 64 bytes against 64" +
                   same_or_apart);
  expect_error({"y"}, bands(16, 0, 16),
               "y overlaps x: it begins 64 bytes before x with a stride of 64 bytes against 64" +
                   same_or_apart);
}

// x takes numbers 0 to 3 and 16 to 19, y 4 to 7 and 16 to 19.
TEST(Check, TwoStridesThatMeetInTheLastRow) {
  std::vector<float> memory(20);
  EXPECT_EQ(test::error_of([&] {
              rn::rms_norm(rn::rows<float>(memory.data(), 2, 4, 16), rn::none,
                           rn::rows<float>(memory.data() + 4, 2, 4, 12));
            }),
            "rms_norm: y overlaps x: it begins 16 bytes after x with a stride of 48 bytes against "
            "64, and it must be the same rows or lie apart");
}

// Rows of three numbers in every place among others, of any stride.
TEST(Check, TwoStridesMeetWhereTheyShareANumber) {
  std::vector<float> memory(100, 1);
  for (std::size_t count = 1; count < 5; ++count)
    for (std::size_t stride_x = 3; stride_x < 10; ++stride_x)
      for (std::size_t stride_y = 3; stride_y < 10; ++stride_y)
        for (std::size_t begin_x = 0; begin_x < 30; ++begin_x) {
          const std::size_t begin_y = 15;
          bool shared = false;
          for (std::size_t i = 0; i < count; ++i)
            for (std::size_t j = 0; j < count; ++j) {
              const std::size_t row_x = begin_x + i * stride_x, row_y = begin_y + j * stride_y;
              shared = shared || (row_x < row_y + 3 && row_y < row_x + 3);
            }
          const bool same = begin_x == begin_y && (stride_x == stride_y || count == 1);
          const std::string error = test::error_of([&] {
            rn::rms_norm(rn::rows<float>(memory.data() + begin_x, count, 3, stride_x), rn::none,
                         rn::rows<float>(memory.data() + begin_y, count, 3, stride_y));
          });
          EXPECT_EQ(error != "no error", shared && !same)
              << count << " rows from " << begin_x << " by " << stride_x << " and from " << begin_y
              << " by " << stride_y << ": " << error;
        }
}

// Rows whose last one would begin at number 0 again, if products of sizes wrapped around.
TEST(Check, ProductsDoNotWrapAround) {
  if constexpr (sizeof(std::size_t) == 8) {
    std::vector<float> memory(8);
    const std::size_t count = (std::size_t{1} << 32) + 1, stride = std::size_t{1} << 30;
    EXPECT_EQ(test::error_of([&] {
                rn::rms_norm(rn::rows<float>(memory.data(), count, 4, stride), rn::none,
                             rn::rows<float>(memory.data() + 4, count, 4, stride));
              }),
              "rms_norm: x has 4294967297 rows and a stride of 4294967296 bytes, more than memory "
              "can hold");
  }
}

TEST(Check, ARowThatMemoryCannotHold) {
  if constexpr (sizeof(std::size_t) == 8) {
    double number = 0;
    const std::size_t many = std::size_t{1} << 60;
    EXPECT_EQ(test::error_of([&] {
                rn::rms_norm(rn::rows<double>(nullptr, many, 0), rn::none,
                             rn::rows<double>(nullptr, many, 0), 1e-6,
                             rn::rows<double>(&number, 1, many));
              }),
              "rms_norm: the rows of rstd have 1152921504606846976 numbers, more than memory can "
              "hold");
  }
}

TEST(Check, InPlaceIsForOneTypeOnly) {
  float memory[8] = {};
  EXPECT_THROW(rn::rms_norm(rn::rows<float>(memory, 1, 4), rn::none,
                            rn::rows<Eigen::half>(reinterpret_cast<Eigen::half*>(memory), 1, 4)),
               std::invalid_argument);
}

TEST(Check, NoRowsAndRowsOfNoNumbers) {
  expect_none({}, [](arguments& a) {
    for (const auto& all : {matrices, columns})
      for (const auto& [name, m] : all) a.*m = {nullptr, 0, 4};
    a.mean = a.rstd = {nullptr, 1, 0};
  });
  expect_none({}, [](arguments& a) {
    for (const auto& all : {matrices, parameters})
      for (const auto& [name, m] : all) a.*m = {nullptr, (a.*m).count, 0};
  });
  // However many rows of no numbers there are.
  const rn::rows<float> many(nullptr, ~std::size_t{0} / 2 + 1, 0);
  rn::rms_norm(many, rn::none, many);
  const rn::heads<float> heads(nullptr, ~std::size_t{0} / 2 + 1, 4, 0, 0);
  rn::layer_norm(heads, rn::none, rn::none, heads);
  // Shapes are asked for all the same.
  expect_error(
      {"y"}, [](arguments& a) { a.x.count = a.residual.count = a.z.count = 0; },
      "y has 2 rows, x has 0");
  expect_error(
      {"dy"}, [](arguments& a) { a.x.count = 0; }, "dy has 2 rows, x has 0");
}

// -----------------------------------------------------------------------------------------------
// heads and modules.
// -----------------------------------------------------------------------------------------------

TEST(Check, Heads) {
  std::array<float, 64> memory{};
  const auto heads = [&](std::size_t token_stride) {
    return rn::heads<float>(memory.data(), 2, 3, 4, token_stride);
  };
  const test::matrix<float> gamma = test::normals<float>(4, 4, 1);
  EXPECT_EQ(test::error_of([&] { rn::rms_norm(heads(11), rn::none, heads(11)); }),
            "rms_norm: x has a stride of 11 numbers, its rows take 12");
  EXPECT_EQ(test::error_of([&] { rn::rms_norm(heads(12), gamma.topRows(2), heads(12)); }),
            "rms_norm: gamma has 2 rows, it should have 1 or one for each of 3 heads");
  EXPECT_EQ(test::error_of([&] {
              rn::rms_norm(heads(16), rn::none, rn::heads<float>(memory.data() + 4, 2, 3, 4, 16));
            }),
            "rms_norm: y overlaps x: it begins 16 bytes after x with a stride of 64 bytes against "
            "64, and it must be the same rows or lie apart");
  EXPECT_EQ(test::error_of([&] { rn::rms_norm(heads(12), gamma.topRows(3), heads(12)); }),
            "no error");
  test::matrix<float> sums = test::matrix<float>::Zero(3, 4);
  EXPECT_EQ(test::error_of([&] {
              rn::rms_norm_backward(heads(12), heads(12), gamma.row(0), heads(12), sums);
            }),
            "rms_norm_backward: dgamma has 3 rows, gamma has 1");
}

TEST(Check, Quantized) {
  const double inf = std::numeric_limits<double>::infinity();
  const test::matrix<float> x = test::normals<float>(2, 4, 2);
  std::array<std::int8_t, 24> memory;
  memory.fill(7);
  const auto before = memory;
  std::vector<float> scales{3, 4};
  // What each of four calls says where its output is y.
  const auto expect = [&](const rn::rows<std::int8_t>& q, auto&& scale, const std::string& error) {
    test::matrix<float> residual = x;
    EXPECT_EQ(test::error_of([&] { rn::rms_norm(x, x.row(0), rn::quantized(q, scale)); }),
              "rms_norm: " + error);
    EXPECT_EQ(
        test::error_of([&] { rn::partial_rms_norm(x, 2, rn::none, rn::quantized(q, scale)); }),
        "partial_rms_norm: " + error);
    EXPECT_EQ(
        test::error_of([&] { rn::add_rms_norm(x, residual, rn::none, rn::quantized(q, scale)); }),
        "add_rms_norm: " + error);
    EXPECT_EQ(
        test::error_of([&] { rn::layer_norm(x, rn::none, rn::none, rn::quantized(q, scale)); }),
        "layer_norm: " + error);
    EXPECT_TRUE(test::same_bits(residual, x));
  };
  const rn::rows<std::int8_t> q(memory.data(), 2, 4);
  expect({nullptr, 2, 4}, scales, "y is null, it should hold 2 rows of 4 numbers");
  expect({memory.data(), 3, 4}, scales, "y has 3 rows, x has 2");
  expect({memory.data(), 2, 5}, scales, "the rows of y have 5 numbers, the rows of x have 4");
  expect({memory.data(), 2, 4, 3}, scales, "y has a stride of 3 numbers, its rows take 4");
  expect(q, std::vector<float>(3), "scales has 3 numbers, x has 2 rows");
  expect(q, rn::rows<double>(nullptr, 1, 2), "scales is null, it should hold 1 row of 2 numbers");
  expect(q, rn::rows<float>(reinterpret_cast<float*>(memory.data()), 1, 2),
         "scales overlaps y: it begins 0 bytes after y with a stride of 8 bytes against 4" + apart);
  expect(q, 0.0f, "scale is 0, it must be finite and above 0");
  expect(q, -1, "scale is -1, it must be finite and above 0");
  expect(q, inf, "scale is inf, it must be finite and above 0");
  expect(q, std::numeric_limits<double>::quiet_NaN(),
         "scale is nan, it must be finite and above 0");
  EXPECT_EQ(memory, before);
  EXPECT_EQ(scales, (std::vector<float>{3, 4}));
}

TEST(Check, Modules) {
  EXPECT_THROW(rn::RMSNorm<float>(4, -1), std::invalid_argument);
  EXPECT_THROW(rn::LayerNorm<float>(4, std::numeric_limits<double>::infinity()),
               std::invalid_argument);
}

}  // namespace
