// SPDX-License-Identifier: MIT
// What the error of each norm is held to, in eps of the arithmetic or ulp of the output: the one
// place for the tests, the search for bad rows and the proofs. It includes nothing of rownorm.
#pragma once

namespace bounds {

/// `proved`: of every row that there is, by proofs/. `usual`: of rows drawn at random, with room to
/// spare, so that a rounding too many shows.
struct bound {
  double proved, usual;
};

/// For T = float and double, in eps: 2^-23 and 2^-52.
template <class T>
struct of;
template <>
struct of<float> {
  static constexpr bound rms_norm{3.26, 2}, rms_norm_outside{3.26, 2}, layer_norm{14.5, 4};
  static constexpr bound rms_norm_backward{12.3, 4}, layer_norm_backward{36.6, 4};
};
template <>
struct of<double> {
  static constexpr bound rms_norm{4.51, 4}, rms_norm_outside{5.26, 4}, layer_norm{17.4, 4};
  static constexpr bound rms_norm_backward{18.6, 4}, layer_norm_backward{46, 4};
};

/// In ulp, where one rounding is asked for: to 16 bits (LayerNorm's ulp is that of its scale), or
/// from double to float.
constexpr double one_rounding_16 = 0.501, one_rounding_16_of_layer_norm = 0.504,
                 one_rounding_float = 0.5001;

}  // namespace bounds
