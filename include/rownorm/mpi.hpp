// SPDX-License-Identifier: MIT
// columns(comm, D): calls on matrices of which each process of an MPI communicator holds some
// columns of every row; the messages and the loops over rows around them, never a norm.
#pragma once

#include <mpi.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "detail/scratch.hpp"
#include "detail/together.hpp"
#include "where.hpp"

namespace rownorm {

/// As the first argument of a call: rows have D numbers, and each process of comm holds some
/// columns of every row (any number, also none) of each matrix, of gamma and beta. All make the
/// same call on the same rows, eps and types, and get their columns of y, dx, dgamma and dbeta, and
/// the mean and rstd of whole rows. The arithmetic is T's; on rows of double, double. Errors are
/// those of whole rows, bits are not. A saved mean is found anew. One all-reduce for each call, for
/// which memory is allocated: 1 double for each row for rms_norm, 4 for layer_norm, 2 and 6 for
/// their gradients, and one more of each in double. No partial_rms_norm, no quantized(q, scales)
/// with a scale per row. Throws std::invalid_argument where arguments are wrong (in that process:
/// the others wait for it) or the columns together are not D (in all; a residual is written then),
/// std::runtime_error with MPI's text where MPI fails.
struct columns {
  MPI_Comm comm;  ///< the processes that hold the columns
  std::size_t D;  ///< the columns of all of them
  /// Of a communicator that outlives the call.
  columns(MPI_Comm comm_, std::size_t D_) : comm(comm_), D(D_) {}
};

inline namespace ROWNORM_ISA {
namespace detail {

ROWNORM_COLD inline void fail_if_mpi_did(int error) {
  if (error == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING + 1] = "";
  int length = 0;
  MPI_Error_string(error, text, &length);
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
  throw std::runtime_error("rownorm: MPI: " + std::string(text));
#else
  std::fprintf(stderr, "rownorm: MPI: %s\n", text);
  std::abort();
#endif
}

/// Errors of comm come back to the caller while this lives.
class mpi_errors_return {
 public:
  explicit mpi_errors_return(MPI_Comm comm) : comm_(comm) {
    MPI_Comm_get_errhandler(comm, &before_);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  }
  mpi_errors_return(const mpi_errors_return&) = delete;
  ~mpi_errors_return() {
    MPI_Comm_set_errhandler(comm_, before_);
    MPI_Errhandler_free(&before_);
  }

 private:
  MPI_Comm comm_;
  MPI_Errhandler before_;
};

/// A shard as MPI sees it: so many doubles, added one by one or by together().
template <class Shard>
class mpi_shard {
 public:
  static_assert(std::is_trivially_copyable_v<Shard> && sizeof(Shard) % sizeof(double) == 0);
  mpi_shard() {
    fail_if_mpi_did(MPI_Type_contiguous(sizeof(Shard) / sizeof(double), MPI_DOUBLE, &type_));
    fail_if_mpi_did(MPI_Type_commit(&type_));
    // Said not to commute, so that all processes merge in the order of their ranks.
    fail_if_mpi_did(MPI_Op_create(&merge, 0, &op_));
  }
  mpi_shard(const mpi_shard&) = delete;
  ~mpi_shard() {
    MPI_Op_free(&op_);
    MPI_Type_free(&type_);
  }
  MPI_Datatype type() const { return type_; }
  MPI_Op op() const { return op_; }

 private:
  static void merge(void* in, void* in_and_out, int* count, MPI_Datatype*) {
    const Shard* const a = static_cast<const Shard*>(in);
    Shard* const b = static_cast<Shard*>(in_and_out);
    for (int i = 0; i < *count; ++i) b[i] = together(a[i], b[i]);
  }
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
  MPI_Op op_ = MPI_OP_NULL;
};

/// Each shard becomes that of all processes.
template <class Shard>
void all_reduce(MPI_Comm comm, std::vector<Shard>& shards) {
  const mpi_errors_return by_value(comm);
  constexpr auto most = static_cast<std::size_t>(std::numeric_limits<int>::max() / 8);
  const auto send = [&](std::size_t numbers, MPI_Datatype type, MPI_Op op) {
    for (std::size_t i = 0; i < shards.size(); i += most) {
      const std::size_t some = (std::min)(most, shards.size() - i) * numbers;
      fail_if_mpi_did(
          MPI_Allreduce(MPI_IN_PLACE, shards.data() + i, static_cast<int>(some), type, op, comm));
    }
  };
  if constexpr (Shard::plain_sums) {
    send(sizeof(Shard) / sizeof(double), MPI_DOUBLE, MPI_SUM);
  } else {
    const mpi_shard<Shard> mpi;
    send(1, mpi.type(), mpi.op());
  }
}

/// The arithmetic on shards: sums of doubles may leave the range of a float's shard.
template <class T, class Source>
using shard_arithmetic =
    std::conditional_t<std::is_same_v<typename Source::stored, double>, double, T>;
template <class M>
using row_of = decltype(std::declval<const M&>().at_row(0u));

template <>
struct runner<columns> {
  static constexpr bool whole_rows = false;
  const columns& where;
  explicit runner(const columns& where_) : where(where_) {
    if (where.comm == MPI_COMM_NULL) checks("columns").miss("comm is MPI_COMM_NULL");
    int between_groups = 0;
    MPI_Comm_test_inter(where.comm, &between_groups);
    if (between_groups) checks("columns").miss("comm is an intercommunicator");
  }

  template <class A, class X, class Affine, class Y, class R>
  void forward(std::size_t count,
               const rms_norm_rows<A, std::size_t, X, Affine, Y, found_squares, R>& rows) const {
    using T = shard_arithmetic<A, row_of<decltype(rows.x.again)>>;
    if (count == 0 || where.D == 0) return;
    check_sink<Y>();
    const epsilon eps = rows.statistic.eps;
    std::vector<squares_shard<T>> shards(count + 1);
    for (std::size_t i = 0; i < count; ++i) {
      squares s;
      find_squares<T>(rows.n, rows.n, rows.x.first.at_row(i), rows.x.again.at_row(i), eps, s);
      shards[i] = shard_of<T>(s, eps);
    }
    shards[count] = squares_shard<T>(static_cast<double>(rows.n));  // to add the lengths
    all_reduce(where.comm, shards);
    check_length(shards[count].squares);
    for (std::size_t i = 0; i < count; ++i) {
      const squares s = statistic_of(shards[i], eps);
      const double r = reciprocal_rms(s.sum, length(), scaled(eps, shards[i].scale));
      rms_norm_row<T>(rows.n, rows.x.again.at_row(i), rows.affine.at_row(i), rows.y.at_row(i), r,
                      s.scale);
      rows.rstd.set(i, r * shards[i].scale);
    }
    end_rows(rows.y);
  }

  template <class A, class X, class Affine, class Y, class M, class R>
  void forward(
      std::size_t count,
      const layer_norm_rows<A, std::size_t, X, Affine, Y, found_moments, M, R>& rows) const {
    using T = shard_arithmetic<A, row_of<decltype(rows.x.again)>>;
    if (count == 0 || where.D == 0) return;
    check_sink<Y>();
    const epsilon eps = rows.statistic.eps;
    std::vector<moments_shard<T>> shards(count);
    for (std::size_t i = 0; rows.n != 0 && i < count; ++i) {
      moments m;
      find_moments<T>(rows.n, rows.x.first.at_row(i), rows.x.again.at_row(i), eps, m);
      shards[i] = shard_of<T>(rows.n, m);
    }
    all_reduce(where.comm, shards);
    check_length(shards[0].count);
    for (std::size_t i = 0; i < count; ++i) {
      const moments m = statistic_of(shards[i], eps);
      const double scale = shards[i].scale, r = reciprocal_root(m.variance, scaled(eps, scale));
      layer_norm_row<T>(rows.n, rows.x.again.at_row(i), rows.affine.at_row(i), rows.y.at_row(i), m,
                        r);
      rows.mean.set(i, (m.mean + m.rest) / scale);
      rows.rstd.set(i, m.variance == 0 ? reciprocal_root(0, eps) : r * scale);
    }
    end_rows(rows.y);
  }

  template <class A, class... M, class DGamma>
  void backward(std::size_t count, const rms_gradient_rows<A, M...>& rows,
                const DGamma& dgamma) const {
    using T = shard_arithmetic<A, row_of<decltype(rows.x)>>;
    if (count == 0 || where.D == 0) return;
    const epsilon eps = eps_of(rows.statistic);
    scratch<T, DGamma> sums(dgamma, count);
    std::vector<rms_gradient_shard<T>> shards(count + 1);
    std::vector<bool> wide(count);
    for (std::size_t i = 0; i < count; ++i) {
      const rms_gradient s =
          find_rms_gradient<T>(rows.n, rows.dy.at_row(i), rows.x.at_row(i), rows.gamma.at_row(i),
                               eps, rows.statistic.at_row(i));
      shards[i] = shard_of<T>(s, eps);
      wide[i] = s.scale != held;
    }
    shards[count].x = squares_shard<T>(static_cast<double>(rows.n));
    all_reduce(where.comm, shards);
    check_length(shards[count].x.squares);
    second_halves<false, T>(
        count, rows,
        [&](std::size_t i) {
          return factors_of(shards[i], wide[i], length(), eps, rows.statistic.at_row(i));
        },
        sums.sums(), row_sums<none_t>{});
    sums.add_to_gradient();
  }

  template <class A, class... M, class DGamma, class DBeta>
  void backward(std::size_t count, const layer_gradient_rows<A, M...>& rows, const DGamma& dgamma,
                const DBeta& dbeta) const {
    using T = shard_arithmetic<A, row_of<decltype(rows.x)>>;
    if (count == 0 || where.D == 0) return;
    const epsilon eps = eps_of(rows.statistic);
    scratch<T, DGamma> gamma_sums(dgamma, count);
    scratch<T, DBeta> beta_sums(dbeta, count);
    std::vector<layer_gradient_shard<T>> shards(count);
    std::vector<bool> wide(count);
    for (std::size_t i = 0; rows.n != 0 && i < count; ++i) {
      // A saved mean is found anew.
      const layer_gradient s = find_layer_gradient<T>(rows.n, rows.dy.at_row(i), rows.x.at_row(i),
                                                      rows.gamma.at_row(i), eps, saved_row{});
      shards[i] = shard_of<T>(rows.n, s);
      wide[i] = s.x.scale != held;
    }
    all_reduce(where.comm, shards);
    check_length(shards[0].x.count);
    second_halves<true, T>(
        count, rows,
        [&](std::size_t i) {
          return factors_of(shards[i], wide[i], eps, rows.statistic.at_row(i));
        },
        gamma_sums.sums(), beta_sums.sums());
    gamma_sums.add_to_gradient();
    beta_sums.add_to_gradient();
  }

 private:
  /// factors(i): of row i, from the shards of all.
  template <bool Centred, class T, class Rows, class Factors, class G, class B>
  static void second_halves(std::size_t count, const Rows& rows, const Factors& factors,
                            const G& dgamma, const B& dbeta) {
    for (std::size_t i = 0; i < count; ++i) {
      gradient_row<Centred, T>(rows.n, rows.dy.at_row(i), rows.x.at_row(i), rows.gamma.at_row(i),
                               rows.dx.at_row(i), dgamma.at_row(i), dbeta.at_row(i), factors(i));
      end_row(i, count, dgamma, dbeta);
    }
    end_rows(rows.dx);
  }
  double length() const { return static_cast<double>(where.D); }
  /// The same on all processes, which are told of all lengths by the one message.
  void check_length(double of_all) const {
    if (of_all != length())
      checks("columns").miss("D is %zu, the columns of all processes are %.0f", where.D, of_all);
  }
  template <class Y>
  static constexpr void check_sink() {
    static_assert(!needs_peak<row_of<Y>>,
                  "rownorm: quantized(q, scales) needs whole rows: give it one scale for all");
  }
};

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
