// SPDX-License-Identifier: MIT
// A character-level language model that learns a text file: a residual MLP over the last 16
// characters, with RMSNorm, LayerNorm or no norm, before its blocks or after them.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <new>
#include <random>
#include <rownorm/rownorm.hpp>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using row_vector = Eigen::RowVectorXf;
using random_bits = std::mt19937_64;

constexpr int context = 16, width = 128, hidden = 256, blocks = 8, batch = 64;
constexpr int most_measured = 2048, sample_length = 240;

struct options {
  std::string text = ROWNORM_LICENSE, norm = "rms", placement = "pre", csv;
  int steps = 600;
  unsigned seed = 1;
  float rate = 1e-3f;
};

/// The distinct characters of a text, the text as numbers of them, and where its held-out end
/// begins, the last tenth.
struct corpus {
  std::string characters;
  std::vector<int> codes;
  int held_out;
};

corpus read_corpus(const std::string& path) {
  namespace fs = std::filesystem;
  const auto fail = [&](const std::string& why) { throw std::runtime_error(path + ": " + why); };
  const auto limit = [&](std::uintmax_t size) {
    if (size > INT_MAX) fail("2 GB of text are the most");
  };
  std::error_code no_size;
  if (fs::is_directory(path, no_size)) fail("is a directory");
  const std::uintmax_t size = fs::file_size(path, no_size);
  if (!no_size) limit(size);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             std::fclose);
  if (!file) fail(std::strerror(errno));
  std::string text;
  std::vector<char> piece(1 << 16);
  for (std::size_t n = piece.size(); n == piece.size(); text.append(piece.data(), n)) {
    n = std::fread(piece.data(), 1, piece.size(), file.get());
    if (std::ferror(file.get())) fail(std::strerror(errno));
    limit(text.size() + n);
  }
  if (text.empty()) fail("the file is empty");
  if (text.size() < 2 * context)
    fail(std::to_string(text.size()) + " characters are too few to learn from, " +
         std::to_string(2 * context) + " are the least");

  corpus c{text, {}, static_cast<int>(text.size() - text.size() / 10)};
  std::sort(c.characters.begin(), c.characters.end());
  c.characters.erase(std::unique(c.characters.begin(), c.characters.end()), c.characters.end());
  for (const char character : text)
    c.codes.push_back(static_cast<int>(c.characters.find(character)));
  return c;
}

/// Places spread evenly over [first, last); all of them where they are few.
std::vector<int> spread(int first, int last) {
  std::vector<int> places(static_cast<std::size_t>(std::min(last - first, most_measured)));
  const double step = static_cast<double>(last - first) / static_cast<double>(places.size());
  double place = first;
  for (int& p : places) p = static_cast<int>(std::exchange(place, place + step));
  return places;
}

/// Of times the tenth percentile: on a busy machine most steps are interrupted, and few norms.
double undisturbed(std::vector<double> times) {
  const auto tenth = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 10);
  std::nth_element(times.begin(), tenth, times.end());
  return *tenth;
}

class stopwatch {
 public:
  /// Seconds since the start, or since the last call.
  double lap() {
    const auto before = std::exchange(last_, clock::now());
    return std::chrono::duration<double>(last_ - before).count();
  }

 private:
  using clock = std::chrono::steady_clock;
  clock::time_point last_ = clock::now();
};

/// Adam (Kingma and Ba 2015, arXiv:1412.6980) over all parameters of a model.
class adam {
 public:
  /// `value` is trained by `gradient` from now on; both stay where they are.
  template <class V, class G>
  void add(V& value, G& gradient) {
    const Eigen::ArrayXf zero = Eigen::ArrayXf::Zero(value.size());
    parameters_.push_back(
        {{value.data(), value.size()}, {gradient.data(), gradient.size()}, zero, zero});
  }
  void step(float rate) {
    ++steps_;
    rate /= 1 - std::pow(0.9f, steps_);
    const float to_square = 1 / (1 - std::pow(0.999f, steps_));
    for (parameter& p : parameters_) {
      p.mean += 0.1f * (p.gradient - p.mean);
      p.square += 0.001f * (p.gradient.square() - p.square);
      p.value -= rate * p.mean / ((p.square * to_square).sqrt() + 1e-8f);
    }
  }
  Eigen::Index numbers() const {
    Eigen::Index sum = 0;
    for (const parameter& p : parameters_) sum += p.value.size();
    return sum;
  }

 private:
  struct parameter {
    Eigen::Map<Eigen::ArrayXf> value, gradient;
    Eigen::ArrayXf mean, square;
  };
  std::vector<parameter> parameters_;
  float steps_ = 0;
};

/// Normal numbers whose squares, `terms` of them added up, come to `sum`.
matrix normals(Eigen::Index rows, Eigen::Index columns, float sum, int terms, random_bits& random) {
  std::normal_distribution<float> normal(0, std::sqrt(sum / static_cast<float>(terms)));
  return matrix::NullaryExpr(rows, columns, [&] { return normal(random); });
}

/// y = x * w + b.
struct linear {
  matrix w, dw;
  row_vector b, db;

  linear(int in, int out, float gain, adam& optimizer, random_bits& random)
      : w(normals(in, out, gain, in, random)), dw(in, out), b(row_vector::Zero(out)), db(out) {
    optimizer.add(w, dw);
    optimizer.add(b, db);
  }
  void forward(const matrix& x, matrix& y) const {
    y.noalias() = x * w;
    y.rowwise() += b;
  }
  void backward(const matrix& dy, const matrix& x, matrix& dx) {
    dw.noalias() = x.transpose() * dy;
    db = dy.colwise().sum();
    dx.noalias() = dy * w.transpose();
  }
};

/// y = max(x * up, 0) * down.
struct block {
  linear up, down;
  matrix a, da;

  block(adam& optimizer, random_bits& random)
      : up(width, hidden, 2, optimizer, random), down(hidden, width, 1, optimizer, random) {}
  void forward(const matrix& x, matrix& y) {
    up.forward(x, a);
    a = a.cwiseMax(0);
    down.forward(a, y);
  }
  void backward(const matrix& dy, const matrix& x, matrix& dx) {
    down.backward(dy, a, da);
    da = (a.array() > 0).select(da, 0);
    up.backward(da, x, dx);
  }
};

/// In the place of a norm: of add and norm, the add.
struct no_norm {
  explicit no_norm(std::size_t) {}
  void forward(const matrix& x, matrix& y) { y = x; }
  void add_forward(const matrix& x, matrix& residual, matrix& y) { y = residual += x; }
  void add_backward(const matrix& dy, const matrix&, matrix& dh) { dh += dy; }
  void zero_grad() {}
};

/// h[0] is the sum of a row of `table` for each place of the context and the character there,
/// y[l] = norm[l](h[l]), the logits are leave(y[blocks]), and the blocks between add:
///   pre-norm   h[l+1] = h[l] + block[l](y[l])
///   post-norm  h[l+1] = y[l] + block[l](y[l])
template <class Norm>
class model {
 public:
  model(int characters, bool post, adam& optimizer, random_bits& random)
      : post_(post),
        table_(normals(context * characters, width, 1, context, random)),
        dtable_(table_.rows(), width),
        leave_(width, characters, 1, optimizer, random),
        norms_(blocks + 1, Norm(width)),
        h_(blocks + 1),
        y_(blocks + 1) {
    optimizer.add(table_, dtable_);
    blocks_.reserve(blocks);  // the optimizer points into them
    for (int l = 0; l < blocks; ++l) blocks_.emplace_back(optimizer, random);
    for (Norm& norm : norms_) {
      if constexpr (!std::is_same_v<Norm, no_norm>) optimizer.add(norm.gamma(), norm.dgamma());
      if constexpr (std::is_same_v<Norm, rownorm::LayerNorm<float>>)
        optimizer.add(norm.beta(), norm.dbeta());
    }
  }

  /// A row for each place: log of the probability of each character there, by those before it.
  const matrix& forward(const std::vector<int>& text, const std::vector<int>& places) {
    const auto rows = static_cast<Eigen::Index>(places.size());
    h_[0].setZero(rows, width);
    each_input(text, places, [&](auto i, auto entry) { h_[0].row(i) += table_.row(entry); });
    for (matrix& y : y_) y.resize(rows, width);

    timed([&] { norms_[0].forward(h_[0], y_[0]); });
    for (std::size_t l = 0; l < blocks; ++l) {
      blocks_[l].forward(y_[l], branch_);
      h_[l + 1] = post_ ? y_[l] : h_[l];
      timed([&] { norms_[l + 1].add_forward(branch_, h_[l + 1], y_[l + 1]); });
    }
    leave_.forward(y_[blocks], log_p_);
    log_p_.colwise() -= log_p_.rowwise().maxCoeff().eval();
    log_p_.colwise() -= log_p_.array().exp().rowwise().sum().log().matrix().eval();
    return log_p_;
  }

  /// The gradients of the mean loss at the places that the last forward was given.
  void backward(const std::vector<int>& text, const std::vector<int>& places) {
    matrix dlogits = log_p_.array().exp();
    for (std::size_t i = 0; i < places.size(); ++i)
      dlogits(static_cast<Eigen::Index>(i), code(text, places[i])) -= 1;
    dlogits /= static_cast<float>(places.size());
    for (Norm& norm : norms_) norm.zero_grad();

    leave_.backward(dlogits, y_[blocks], dy_);
    dh_.setZero(dy_.rows(), width);
    for (std::size_t l = blocks; l > 0; --l) {
      timed([&] { norms_[l].add_backward(dy_, h_[l], dh_); });
      blocks_[l - 1].backward(dh_, y_[l - 1], dy_);
      if (post_) {
        dy_ += dh_;
        dh_.setZero();
      }
    }
    timed([&] { norms_[0].add_backward(dy_, h_[0], dh_); });
    dtable_.setZero();
    each_input(text, places, [&](auto i, auto entry) { dtable_.row(entry) += dh_.row(i); });
  }

  /// The mean of -log p of the characters at the places, in nats.
  double loss(const std::vector<int>& text, const std::vector<int>& places) {
    forward(text, places);
    double sum = 0;
    for (std::size_t i = 0; i < places.size(); ++i)
      sum -= static_cast<double>(log_p_(static_cast<Eigen::Index>(i), code(text, places[i])));
    return sum / static_cast<double>(places.size());
  }

  const std::vector<Norm>& norms() const { return norms_; }
  double norm_seconds() const { return norm_seconds_; }

 private:
  static int code(const std::vector<int>& text, int place) {
    return text[static_cast<std::size_t>(place)];
  }
  /// f(i, entry) for every row i and every row `entry` of the table that adds to it.
  template <class F>
  void each_input(const std::vector<int>& text, const std::vector<int>& places, F f) const {
    for (std::size_t i = 0; i < places.size(); ++i)
      for (int j = 0; j < context; ++j)
        f(static_cast<Eigen::Index>(i),
          static_cast<Eigen::Index>(j) * leave_.b.size() + code(text, places[i] - context + j));
  }
  template <class F>
  void timed(F f) {
    stopwatch watch;
    f();
    norm_seconds_ += watch.lap();
  }

  bool post_;
  matrix table_, dtable_;
  linear leave_;
  std::vector<block> blocks_;
  std::vector<Norm> norms_;
  std::vector<matrix> h_, y_;
  matrix branch_, log_p_, dy_, dh_;
  double norm_seconds_ = 0;
};

/// Some characters from the middle of the text, and how the model goes on.
template <class Norm>
std::string sample(model<Norm>& m, const corpus& c, random_bits& random) {
  const auto first = c.codes.begin() + (c.held_out - context) / 2;
  std::vector<int> text(first, first + context);
  while (text.size() < sample_length) {
    const auto place = static_cast<int>(text.size());
    const Eigen::ArrayXf p = (2 * m.forward(text, {place}).row(0).array()).exp();  // p^2: bolder
    if (!p.isFinite().all()) throw std::runtime_error("the sample meets a loss that is not finite");
    text.push_back(std::discrete_distribution<int>(p.data(), p.data() + p.size())(random));
  }
  std::string sample;
  for (const int code : text) sample += c.characters[static_cast<std::size_t>(code)];
  return sample;
}

void check_stdout() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout))
    throw std::runtime_error("standard output cannot be written");
}

template <class Norm>
void train(const options& o, const corpus& c) {
  std::ofstream csv;
  const auto check_csv = [&] {
    if (!csv) throw std::runtime_error(o.csv + ": cannot be written");
  };
  if (!o.csv.empty()) {
    std::error_code none;
    if (std::filesystem::equivalent(o.csv, o.text, none))
      throw std::runtime_error(o.csv + ": is the text");
    csv.open(o.csv);
    if (!csv) throw std::runtime_error(o.csv + ": " + std::strerror(errno));
    csv.precision(8);
    csv << "step,train_loss,held_out_loss\n";
  }
  random_bits random(o.seed);
  adam optimizer;
  const auto characters = static_cast<int>(c.characters.size());
  model<Norm> m(characters, o.placement == "post", optimizer, random);
  std::printf("%s: %zu characters, %d different ones, the last tenth is held out\n", o.text.c_str(),
              c.codes.size(), characters);
  std::printf("norm %s, placement %s, %d blocks of width %d, %td parameters, %d steps, seed %u\n",
              o.norm.c_str(), o.placement.c_str(), blocks, width, optimizer.numbers(), o.steps,
              o.seed);
  std::printf("\n   step  train loss  held-out loss  (nats per character)\n");

  const auto size = static_cast<int>(c.codes.size());
  const std::vector<int> known = spread(context, c.held_out), held_out = spread(c.held_out, size);
  std::uniform_int_distribution<int> any(context, c.held_out - 1);
  std::vector<int> places(batch);
  std::vector<double> seconds, norm_seconds;  // of each step
  const int interval = std::max(o.steps / 20, 1);
  for (int step = 0;; ++step) {
    if (step % interval == 0 || step == o.steps) {
      const double train_loss = m.loss(c.codes, known), held_out_loss = m.loss(c.codes, held_out);
      if (!std::isfinite(train_loss + held_out_loss))
        throw std::runtime_error("step " + std::to_string(step) + ": the loss is " +
                                 std::to_string(train_loss) + ", held out " +
                                 std::to_string(held_out_loss) + "; try a lower --rate");
      std::printf("%7d  %10.4f  %13.4f\n", step, train_loss, held_out_loss);
      check_stdout();
      if (csv.is_open()) csv << step << ',' << train_loss << ',' << held_out_loss << std::endl;
      check_csv();
    }
    if (step == o.steps) break;
    const double norm_seconds_before = m.norm_seconds();
    stopwatch watch;
    for (int& place : places) place = any(random);
    m.forward(c.codes, places);
    m.backward(c.codes, places);
    optimizer.step(o.rate * static_cast<float>(o.steps - step) / static_cast<float>(o.steps));
    seconds.push_back(watch.lap());
    norm_seconds.push_back(m.norm_seconds() - norm_seconds_before);
  }
  if (csv.is_open()) csv.close();
  check_csv();

  const double step_us = 1e6 * undisturbed(seconds), norm_us = 1e6 * undisturbed(norm_seconds);
  std::printf("\nan undisturbed step took %.1f us, %s %.1f us, %.2f%%\n", step_us,
              std::is_same_v<Norm, no_norm> ? "the residual adds" : "the norms with their adds",
              norm_us, 100 * norm_us / step_us);
  if constexpr (!std::is_same_v<Norm, no_norm>) {
    double sum = 0, most = 0;
    for (const Norm& norm : m.norms()) {
      const Eigen::ArrayXf moved = (norm.gamma().array() - 1).abs();
      sum += static_cast<double>(moved.mean());
      most = std::max(most, static_cast<double>(moved.maxCoeff()));
    }
    std::printf("gamma moved from 1 by %.4f on average, by %.4f at most\n",
                sum / static_cast<double>(m.norms().size()), most);
  }
  std::printf("\na sample:\n");
  const std::string text = sample(m, c, random) + '\n';
  std::fwrite(text.data(), 1, text.size(), stdout);  // of any characters, 0 as well
  check_stdout();
}

int main(int argc, char** argv) {
  options o;
  CLI::App app(
      "Trains a small character-level language model on a text file, to show what a norm does.");
  app.add_option("text", o.text, "the text to learn")->capture_default_str();
  app.add_option("--norm", o.norm, "the norm")
      ->check(CLI::IsMember({"rms", "layer", "none"}))
      ->capture_default_str();
  app.add_option("--placement", o.placement,
                 "the norm before each block, or after its residual add")
      ->check(CLI::IsMember({"pre", "post"}))
      ->capture_default_str();
  const auto decimal = [](const std::string& value) {
    const bool digits = value.find_first_not_of("0123456789") == std::string::npos;
    return digits && (value[0] != '0' || value.size() == 1) ? "" : value + " is no decimal number";
  };
  app.add_option("--steps", o.steps, "steps of Adam, each on 64 places of the text")
      ->check(decimal)  // 010 would be 8
      ->check(CLI::Range(1, 10000000))
      ->capture_default_str();
  app.add_option("--rate", o.rate,
                 "the rate of the first step, at most 1; it falls to 0 in a straight line")
      ->capture_default_str();
  app.add_option("--seed", o.seed, "of the first weights, the batches and the sample")
      ->check(decimal)
      ->capture_default_str();
  app.add_option("--csv", o.csv, "a file for the losses");
  // An unset variable of a shell is no wish for the default.
  for (CLI::Option* option : app.get_options())
    option->check(
        [](const std::string& value) { return std::string(value.empty() ? "is empty" : ""); });
  try {
    app.parse(argc, argv);
    if (!(o.rate > 0 && o.rate <= 1))  // CLI::Range takes NaN
      throw std::runtime_error("--rate: " + std::to_string(o.rate) + " is not in (0, 1]");
    const corpus c = read_corpus(o.text);
    if (o.norm == "rms") train<rownorm::RMSNorm<float>>(o, c);
    else if (o.norm == "layer") train<rownorm::LayerNorm<float>>(o, c);
    else train<no_norm>(o, c);
  } catch (const CLI::CallForHelp& help) {
    app.exit(help);
    return std::cout.flush() ? 0 : 1;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "train_text: %s: more than memory has room for\n", o.text.c_str());
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "train_text: %s\n", error.what());
    return 1;
  }
}
