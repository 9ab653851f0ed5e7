// SPDX-License-Identifier: MIT
// oneDNN: LayerNorm of versions 2 and 3, RMSNorm of the versions that have it
// (BENCH_ONEDNN_RMS_NORM).
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

dnnl::layer_normalization_forward::primitive_desc description(const dnnl::engine& engine, op what,
                                                              const dnnl::memory::desc& matrix) {
  using dnnl::normalization_flags;
  const auto inference = dnnl::prop_kind::forward_inference;
  const auto eps = static_cast<float>(epsilon(what));
  auto flags = normalization_flags::use_scale | normalization_flags::use_shift;
#if defined(BENCH_ONEDNN_RMS_NORM)
  if (what == op::rms_norm) flags = normalization_flags::use_scale | normalization_flags::rms_norm;
#endif
#if DNNL_VERSION_MAJOR < 3
  return {{inference, matrix, eps, flags}, engine};
#else
  return {engine, inference, matrix, matrix, eps, flags};
#endif
}

}  // namespace

std::vector<contender> onednn_peers(const problem& p, op what) {
#if !defined(BENCH_ONEDNN_RMS_NORM)
  if (what == op::rms_norm) return {};
#endif
  if (p.numbers == type::f64) return {};
  omp_set_num_threads(1);

  // gamma and beta in float, in which oneDNN is at its fastest, whatever the rows are in.
  const auto parameters = std::make_shared<std::vector<float>>();
  with_type(p.numbers, [&](auto zero) {
    using S = decltype(zero);
    for (std::size_t j = 0; j < p.length; ++j)
      parameters->push_back(static_cast<float>(p.gamma<S>()[j]));
    for (std::size_t j = 0; j < p.length; ++j)
      parameters->push_back(static_cast<float>(p.beta<S>()[j]));
  });

  const auto rows = static_cast<dnnl::memory::dim>(p.rows);
  const auto n = static_cast<dnnl::memory::dim>(p.length);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const dnnl::memory::desc matrix({rows, n}, onednn_type(p.numbers), dnnl::memory::format_tag::ab);
  const dnnl::memory::desc vector({n}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::a);
  try {
    const dnnl::layer_normalization_forward norm(description(engine, what, matrix));
    const std::unordered_map<int, dnnl::memory> arguments{
        {DNNL_ARG_SRC, dnnl::memory(matrix, engine, const_cast<std::byte*>(p.x<std::byte>()))},
        {DNNL_ARG_DST, dnnl::memory(matrix, engine, p.y<std::byte>())},
        {DNNL_ARG_SCALE, dnnl::memory(vector, engine, parameters->data())},
        {DNNL_ARG_SHIFT, dnnl::memory(vector, engine, parameters->data() + p.length)}};
    return {peer("oneDNN", p, what,
                 [norm, arguments, parameters, stream = dnnl::stream(engine)]() mutable {
                   norm.execute(stream, arguments);
                   stream.wait();
                 })};
  } catch (const dnnl::error&) {
    return {};  // no kernel for this type on this CPU
  }
}

}  // namespace bench
