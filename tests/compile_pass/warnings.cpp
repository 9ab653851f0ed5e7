// SPDX-License-Identifier: MIT
// The headers warn of nothing, in calls of every kind.
#include <rownorm/parallel.hpp>
#include <rownorm/rownorm.hpp>

namespace rn = rownorm;
using rn::bfloat16;

template <class T>
void normalize(rn::rows<const T> x, rn::rows<T> y, rn::rows<T> d, rn::rows<float> numbers,
               rn::rows<std::int8_t> q, rn::heads<T> heads) {
  rn::rms_norm(x, rn::after_rounding(d), y, 1e-6, numbers);
  rn::rms_norm(x, d, rn::quantized(q, numbers));
  rn::partial_rms_norm(heads, 2, rn::one_plus(d), heads);
  rn::add_layer_norm(x, y, d, d, y, 1e-5, numbers, numbers);
  rn::gated_rms_norm(x, x, d, y);
  rn::rms_norm_backward(x, x, d, y, d, rn::saved(numbers));
  rn::layer_norm_backward(heads, heads, d, heads, d, d);
}
template void normalize(rn::rows<const float>, rn::rows<float>, rn::rows<float>, rn::rows<float>,
                        rn::rows<std::int8_t>, rn::heads<float>);
template void normalize(rn::rows<const bfloat16>, rn::rows<bfloat16>, rn::rows<bfloat16>,
                        rn::rows<float>, rn::rows<std::int8_t>, rn::heads<bfloat16>);
