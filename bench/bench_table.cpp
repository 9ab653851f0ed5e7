// SPDX-License-Identifier: MIT
// The table: rownorm beside memcpy, the bare loops and the peers, for each shape, type and op.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "commit.hpp"
#include "measure.hpp"

namespace {

using namespace bench;

constexpr peers all_peers[] = {
    eigen_peers,  plain_peers, plain_fast_math_peers,
#if defined(BENCH_ONEDNN)
    onednn_peers,
#endif
#if defined(BENCH_TORCH)
    torch_peers,
#endif
};

/// Decoding, prefill, heads, and lengths that no register divides.
std::vector<std::string> default_shapes() {
  std::vector<std::string> shapes;
  for (const char* rows : {"1x", "512x"})
    for (const char* length : {"64", "128", "256", "768", "896", "1024", "1536", "2048", "2304",
                               "2560", "2880", "3584", "4096", "5120", "7168", "8192", "16384"})
      shapes.push_back(std::string(rows) + length);
  for (const char* s :
       {"2x4096", "16x4096", "64x4096", "256x4096", "4096x4096", "8192x64", "8192x128", "8192x256",
        "1x1048576", "1x1", "64x33", "64x72", "64x760", "64x1025"})
    shapes.push_back(s);
  return shapes;
}

shape parse_shape(const std::string& text) {
  std::istringstream in(text);
  shape s{};
  char by = 0;
  if (!(in >> s.rows >> by >> s.length) || by != 'x' || s.rows == 0 || s.length == 0 || !in.eof())
    throw CLI::ValidationError("--shapes", text + " is not a shape such as 16x4096");
  return s;
}

std::string machine() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

std::string compiler() {
#if defined(__clang__)
  return __VERSION__;
#else
  return "g++ " __VERSION__;
#endif
}

void print_header(std::ostream& out) {
  out << "# machine: " << machine() << "\n# compiler: " << compiler()
      << "\n# flags: " BENCH_FLAGS "\n# commit: " BENCH_COMMIT "\n";
}

std::vector<contender> contenders(const problem& p, const std::vector<op>& which, bool with_peers) {
  std::vector<contender> all;
  const auto add = [&](const std::vector<contender>& some) {
    all.insert(all.end(), some.begin(), some.end());
  };
  for (const op what : which) {
    add(own(p, what));
    if (with_peers)
      for (const peers of : all_peers) add(of(p, what));
  }
  return all;
}

std::string figure(double v) {
  std::ostringstream out;
  out.precision(v < 100 ? 1 : 0);
  out << std::fixed << v;
  return out.str();
}

std::string times(double v) {
  std::ostringstream out;
  out.precision(2);
  out << std::fixed << v;
  return out.str();
}

void print_row(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths) {
  for (std::size_t i = 0; i < cells.size(); ++i)
    std::printf("%s %*s", i == 0 ? "|" : " |", static_cast<int>(widths[i]), cells[i].c_str());
  std::printf(" |\n");
  std::fflush(stdout);
}

/// One line for an op on a shape: columns, then what stands there.
using line = std::vector<std::pair<std::string, std::string>>;

line table_line(const std::vector<result>& all, const problem& p, op what,
                const std::vector<std::string>& peer_names) {
  const auto time_of = [](const result* r) { return r ? figure(median(r->ns)) : "-"; };
  const auto to = [](const result* r, const result* than) {
    return than ? times(ratio(r->ns, than->ns)) : "-";
  };
  const result* const own = find(all, what, role::rownorm);
  const result* const beside = find(all, what, role::beside);
  const result* const copy = find(all, what, role::copy);
  const result* const first = find(all, what, role::first_half);
  const result* const second = find(all, what, role::second_half);

  line cells{{"shape", name(shape{p.rows, p.length})},
             {"type", name(p.numbers)},
             {"op", name(what)},
             {"rownorm", time_of(own)},
             {"reduction", time_of(find(all, what, role::reduction))},
             {"copy", time_of(copy)},
             {"bare 1st", time_of(first)},
             {"bare 2nd", time_of(second)},
             {"beside", time_of(beside)}};
  const result* best = nullptr;
  for (const std::string& called : peer_names) {
    const result* peer = nullptr;
    for (const result& r : all)
      if (r.of.what == what && r.of.name == called) peer = &r;
    cells.push_back({called, time_of(peer)});
    if (peer && (!best || median(peer->ns) < median(best->ns))) best = peer;
  }
  std::string to_loops = "-";
  if (first && second) {
    std::vector<double> both(first->ns);
    for (std::size_t i = 0; i < both.size(); ++i) both[i] += second->ns[i];
    to_loops = times(ratio(own->ns, both));
  }
  cells.push_back({"/copy", to(own, copy)});
  cells.push_back({"/bare loops", to_loops});
  cells.push_back({"/beside", to(own, beside)});
  if (!peer_names.empty()) {
    cells.push_back({"/best peer", to(own, best)});
    cells.push_back({"best peer", best ? best->of.name : "-"});
  }
  return cells;
}

struct settings {
  std::vector<std::string> shapes = default_shapes();
  std::vector<std::string> types = {"bf16", "float", "fp16", "double"};
  std::vector<std::string> ops = {"rms_norm", "layer_norm"};
  std::size_t shift = 0;
  std::string csv;
  bool quick = false, with_peers = true;
};

void run(const settings& s) {
  patience how_long{1, 5, 51};
  std::vector<shape> shapes;
  for (const std::string& text : s.shapes) shapes.push_back(parse_shape(text));
  if (s.quick) how_long = {0.2, 3, 11};
  std::vector<op> which;
  for (const op o : bench::ops)
    if (std::count(s.ops.begin(), s.ops.end(), name(o))) which.push_back(o);

  // Who takes part: seen on a small problem of each type.
  std::vector<std::string> peer_names;
  for (const type t : bench::types) {
    const problem p(t, {1, 64}, which, s.shift);
    for (const contender& c : contenders(p, which, s.with_peers))
      if (c.part == role::peer && !std::count(peer_names.begin(), peer_names.end(), c.name))
        peer_names.push_back(c.name);
  }

  std::ofstream csv;
  if (!s.csv.empty()) {
    csv.open(s.csv);
    if (!csv) throw std::runtime_error("cannot write " + s.csv);
    print_header(csv);
    csv << "norm,type,rows,length,implementation,role,ns_per_row,of_rownorm,error_eps\n";
  }
  print_header(std::cout);
  std::cout
      << "# nanoseconds per row: medians of rounds in turn; / is rownorm's time to that of\n\n"
      << std::flush;

  // Largest error by type and norm, then by implementation.
  std::map<std::string, std::map<std::string, double>> errors;
  std::vector<std::size_t> widths;
  for (const type t : bench::types) {
    if (!std::count(s.types.begin(), s.types.end(), name(t))) continue;
    for (const shape size : shapes) {
      const problem p(t, size, which, s.shift);
      const std::vector<result> all = measure(contenders(p, which, s.with_peers), p, how_long);
      for (const op what : which) {
        const line cells = table_line(all, p, what, peer_names);
        std::vector<std::string> head, body;
        for (const auto& [column, text] : cells) {
          head.push_back(column);
          body.push_back(text);
        }
        if (widths.empty()) {
          std::vector<std::string> rule;
          for (const std::string& h : head) widths.push_back(std::max<std::size_t>(h.size(), 7));
          widths[0] = 11;
          widths[2] = 14;
          widths.back() = s.with_peers ? 22 : widths.back();
          for (const std::size_t w : widths) rule.push_back(std::string(w - 1, '-') + ":");
          print_row(head, widths);
          print_row(rule, widths);
        }
        print_row(body, widths);
      }
      for (const result& r : all) {
        const result* const own = find(all, r.of.what, role::rownorm);
        if (csv.is_open())
          csv << name(r.of.what) << ',' << name(t) << ',' << size.rows << ',' << size.length
              << ",\"" << r.of.name << "\"," << name(r.of.part) << ',' << median(r.ns) << ','
              << ratio(own->ns, r.ns) << ',' << r.error << std::endl;
        if (r.of.part == role::rownorm || r.of.part == role::peer) {
          double& worst = errors[name(r.of.what) + " " + name(t)][r.of.name];
          worst = std::max(worst, r.error);
        }
      }
    }
  }

  std::printf("\nLargest error, in steps of the type at 1:\n\n");
  for (const auto& [where, of] : errors) {
    std::printf("- %s:", where.c_str());
    for (const auto& [called, worst] : of)
      std::printf("%s %s %s", called == of.begin()->first ? "" : ",", called.c_str(),
                  times(worst).c_str());
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  settings s;
  bool no_peers = false;
  CLI::App app{
      "rownorm beside memcpy, the bare loops and its peers, in one process and on one core"};
  const auto* shape_option =
      app.add_option("--shapes", s.shapes, "Rows x length, such as 1x128,16x4096")->delimiter(',');
  const auto* type_option = app.add_option("--types", s.types, "Of bf16, float, fp16, double")
                                ->delimiter(',')
                                ->check(CLI::IsMember({"bf16", "float", "fp16", "double"}));
  std::vector<std::string> op_names;
  for (const op o : bench::ops) op_names.push_back(name(o));
  app.add_option("--ops", s.ops, "Which; without it rms_norm and layer_norm")
      ->delimiter(',')
      ->check(CLI::IsMember(op_names));
  app.add_flag("--quick", s.quick, "Few shapes, bf16 and float, few rounds: under 20 s");
  app.add_option("--shift", s.shift,
                 "Every array so many bytes past a multiple of 64; 16: where malloc puts them")
      ->check(CLI::IsMember({0, 8, 16, 24, 32, 40, 48, 56}));
  app.add_flag("--no-peers", no_peers, "Only rownorm and its limits");
  app.add_option("--csv", s.csv, "Also write every figure to this file");
  try {
    app.parse(argc, argv);
    s.with_peers = !no_peers;
    if (s.quick && shape_option->count() == 0)
      s.shapes = {"1x128", "1x4096", "16x4096", "512x768", "256x4096", "4096x4096", "8192x128"};
    if (s.quick && type_option->count() == 0) s.types = {"bf16", "float"};
    pin();
    run(s);
  } catch (const CLI::ParseError& e) {
    return app.exit(e);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench_table: %s\n", e.what());
    return 1;
  }
}
