// SPDX-License-Identifier: MIT
// oneDNN: LayerNorm and its gradient of versions 2 and 3, RMSNorm of the versions that have it
// (BENCH_ONEDNN_RMS_NORM). RMSNorm's gradient is not asked for: theirs has one term more.
#include <omp.h>

#include <dnnl.hpp>
#include <memory>
#include <unordered_map>

#include "contender.hpp"

namespace bench {

namespace {

dnnl::memory::data_type onednn_type(type t) {
  switch (t) {
    case type::f32:
      return dnnl::memory::data_type::f32;
    case type::bf16:
      return dnnl::memory::data_type::bf16;
    case type::f16:
      return dnnl::memory::data_type::f16;
    default:
      return dnnl::memory::data_type::undef;
  }
}

using forward_description = dnnl::layer_normalization_forward::primitive_desc;
using backward_description = dnnl::layer_normalization_backward::primitive_desc;

forward_description description(const dnnl::engine& engine, op what,
                                const dnnl::memory::desc& matrix, dnnl::normalization_flags flags) {
  const auto kind =
      backward(what) ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
  const auto eps = static_cast<float>(epsilon(what));
#if DNNL_VERSION_MAJOR < 3
  return {{kind, matrix, eps, flags}, engine};
#else
  return {engine, kind, matrix, matrix, eps, flags};
#endif
}

backward_description description_of_gradient(const dnnl::engine& engine, op what,
                                             const dnnl::memory::desc& matrix,
                                             dnnl::normalization_flags flags) {
  const auto kind = dnnl::prop_kind::backward;
  const auto eps = static_cast<float>(epsilon(what));
  const forward_description forward = description(engine, what, matrix, flags);
#if DNNL_VERSION_MAJOR < 3
  return {{kind, matrix, matrix, eps, flags}, engine, forward};
#else
  return {engine, kind, matrix, matrix, matrix, eps, flags, forward};
#endif
}

/// gamma and beta in float, in which oneDNN is at its fastest, whatever the rows are in; a row's
/// mean and variance as a forward call gives them.
struct floats {
  std::vector<float> gamma, beta, mean, variance;
};
std::shared_ptr<floats> floats_of(const problem& p, op what) {
  const auto f = std::make_shared<floats>();
  with_type(p.numbers, [&](auto zero) {
    using S = decltype(zero);
    for (std::size_t j = 0; j < p.length; ++j) {
      f->gamma.push_back(static_cast<float>(p.gamma<S>()[j]));
      f->beta.push_back(static_cast<float>(p.beta<S>()[j]));
    }
  });
  if (backward(what))
    for (const statistic& row : p.statistics(what)) {
      f->mean.push_back(static_cast<float>(row.mean));
      f->variance.push_back(static_cast<float>(row.variance));
    }
  return f;
}

}  // namespace

std::vector<contender> onednn_peers(const problem& p, op what) {
  if (p.numbers == type::f64) return {};
  if (what != op::rms_norm && what != op::layer_norm && what != op::layer_backward) return {};
  using dnnl::normalization_flags;
  auto flags = normalization_flags::use_scale | normalization_flags::use_shift;
#if defined(BENCH_ONEDNN_RMS_NORM)
  if (what == op::rms_norm) flags = normalization_flags::use_scale | normalization_flags::rms_norm;
#else
  if (what == op::rms_norm) return {};
#endif
  omp_set_num_threads(peer_threads);

  const auto rows = static_cast<dnnl::memory::dim>(p.rows);
  const auto n = static_cast<dnnl::memory::dim>(p.length);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const dnnl::memory::desc matrix({rows, n}, onednn_type(p.numbers), dnnl::memory::format_tag::ab);
  const dnnl::memory::desc row({n}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::a);
  const dnnl::memory::desc column({rows}, dnnl::memory::data_type::f32,
                                  dnnl::memory::format_tag::a);
  const auto at = [&](const dnnl::memory::desc& as, const void* data) {
    return dnnl::memory(as, engine, const_cast<void*>(data));
  };
  const auto f = floats_of(p, what);
  std::unordered_map<int, dnnl::memory> arguments{{DNNL_ARG_SRC, at(matrix, p.x<std::byte>())},
                                                  {DNNL_ARG_SCALE, at(row, f->gamma.data())},
                                                  {DNNL_ARG_SHIFT, at(row, f->beta.data())}};
  const auto running = [&](const dnnl::primitive& norm) {
    return std::vector<contender>{
        peer("oneDNN", p, what,
             [norm, arguments, f, stream = dnnl::stream(engine), threads = peer_threads]() mutable {
               omp_set_num_threads(threads);
               norm.execute(stream, arguments);
               stream.wait();
             })};
  };
  try {
    if (!backward(what)) {
      arguments[DNNL_ARG_DST] = at(matrix, p.y<std::byte>());
      return running(dnnl::layer_normalization_forward(description(engine, what, matrix, flags)));
    }
    arguments[DNNL_ARG_DIFF_DST] = at(matrix, p.dy<std::byte>());
    arguments[DNNL_ARG_MEAN] = at(column, f->mean.data());
    arguments[DNNL_ARG_VARIANCE] = at(column, f->variance.data());
    arguments[DNNL_ARG_DIFF_SRC] = at(matrix, p.y<std::byte>());
    arguments[DNNL_ARG_DIFF_SCALE] = at(row, p.dgamma<float>());
    arguments[DNNL_ARG_DIFF_SHIFT] = at(row, p.dbeta<float>());
    return running(
        dnnl::layer_normalization_backward(description_of_gradient(engine, what, matrix, flags)));
  } catch (const dnnl::error&) {
    return {};  // no kernel for this type on this CPU
  }
}

}  // namespace bench
