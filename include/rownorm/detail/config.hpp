// SPDX-License-Identifier: MIT
// The version, the ISA's namespace and the compilers' attributes; never a type or a function.
#pragma once

#if !(__cplusplus >= 201703L || (defined(_MSVC_LANG) && _MSVC_LANG >= 201703L))
// A file that there is not ends the compilation with this line, where #error would be followed by
// thousands.
#include "rownorm needs C++17 or later (-std=c++17)"
#endif

// Written once: CMake and the packages read these lines.
#define ROWNORM_VERSION_MAJOR 0
#define ROWNORM_VERSION_MINOR 1
#define ROWNORM_VERSION_PATCH 0

// Code for two ISAs may meet in one program, so every function that becomes vector code stands in a
// namespace that bears the ISA: the linker cannot take one for the other.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512CD__) && \
    defined(__AVX512DQ__) && defined(__AVX512VL__)
#define ROWNORM_ISA avx512
#define ROWNORM_AVX512 1
#elif defined(__AVX2__) && ((defined(__FMA__) && defined(__F16C__)) || defined(_MSC_VER))
#define ROWNORM_ISA avx2
#define ROWNORM_AVX2 1
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define ROWNORM_ISA neon
#define ROWNORM_NEON 1
#else
#define ROWNORM_ISA base
#if defined(__SSE2__) || defined(_M_X64)
#define ROWNORM_SSE2 1  // no fused multiply-add: outside the promise of equal bits
#else
#define ROWNORM_SCALAR 1  // any other CPU: loops over plain numbers, and no xsimd
#endif
#endif

// The compiler's own 16-bit numbers, which C++23 calls std::float16_t and std::bfloat16_t.
// g++ 12 has the first in C++ for x86 alone.
#if defined(__FLT16_MANT_DIG__) && (defined(__clang__) || defined(__SSE2__) || __GNUC__ >= 13)
#define ROWNORM_FLOAT16 _Float16
#endif
#if defined(__BFLT16_MANT_DIG__) || \
    (defined(__clang__) && __clang_major__ >= 17 && defined(__SSE2__))
#define ROWNORM_BFLOAT16 __bf16
#endif

#if defined(__clang__)
// Before a loop over rows: clang would make four rows of it (twice the code, and no faster).
#define ROWNORM_NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define ROWNORM_NO_UNROLL
#endif

#if defined(__GNUC__) || defined(__clang__)
#if defined(__clang__) || !defined(__OPTIMIZE__)
#define ROWNORM_INLINE __attribute__((always_inline)) inline
#define ROWNORM_LAMBDA __attribute__((always_inline))
#define ROWNORM_FLAT
#define ROWNORM_UNROLL_2  // clang unrolls by itself
#else
// g++ optimizes what is inlined always anew in each function that it goes into, a dozen deep here.
// A flat function takes in all that it calls at once.
#define ROWNORM_INLINE inline
#define ROWNORM_LAMBDA
#define ROWNORM_FLAT __attribute__((flatten))
// Before a loop: two steps at a time. A step that lies badly in lines of 64 bytes costs less so (a
// row of 1024 floats: 0.87 to 1.0 of the time, as the linker places it).
#define ROWNORM_UNROLL_2 _Pragma("GCC unroll 2")
#endif
#define ROWNORM_NOINLINE __attribute__((noinline))
#define ROWNORM_COLD __attribute__((noinline, cold))
#define ROWNORM_LIKELY(condition) __builtin_expect((condition) ? 1 : 0, 1)
#else
#define ROWNORM_INLINE inline
#define ROWNORM_LAMBDA
#define ROWNORM_FLAT
#define ROWNORM_UNROLL_2
#define ROWNORM_NOINLINE
#define ROWNORM_COLD
#define ROWNORM_LIKELY(condition) (condition)
#endif
