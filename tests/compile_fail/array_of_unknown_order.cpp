// SPDX-License-Identifier: MIT
// Error: rownorm: an array must have one axis, or two and be row-major: pass rownorm::rows
#include <rownorm/rownorm.hpp>

struct matrix {
  float* data();
  int size() const;
  int rows() const;
  int columns() const;
};
void normalize(matrix& x) {
  rownorm::rms_norm(x, rownorm::none, x);
}
