// numpy arrays as the binding takes and gives them. Inputs may be read-only and mapped; nothing is copied.
// Halves travel as their bits (uint16): the caller passes array.view(numpy.uint16).
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <utility>
#include <vector>

namespace jcb::bindings {

namespace nb = nanobind;

template <class Scalar, int Dimensions>
using Array = nb::ndarray<Scalar, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;

template <class Scalar, int Dimensions>
using Input = Array<const Scalar, Dimensions>;

template <class AnyArray>
int64_t size_of(const AnyArray& array, int axis = 0) {
  return static_cast<int64_t>(array.shape(axis));
}

// A numpy array that owns the values.
template <class Scalar>
nb::ndarray<nb::numpy, Scalar, nb::ndim<1>> to_numpy(std::vector<Scalar>&& values) {
  auto* moved = new std::vector<Scalar>(std::move(values));
  const nb::capsule owner(moved, [](void* p) noexcept { delete static_cast<std::vector<Scalar>*>(p); });
  return nb::ndarray<nb::numpy, Scalar, nb::ndim<1>>(moved->data(), {moved->size()}, owner);
}

// The same as rows of so many columns.
template <class Scalar>
nb::ndarray<nb::numpy, Scalar, nb::ndim<2>> to_numpy(std::vector<Scalar>&& values, int64_t rows, int64_t columns) {
  auto flat = to_numpy(std::move(values));
  return nb::ndarray<nb::numpy, Scalar, nb::ndim<2>>(
      flat.data(), {static_cast<size_t>(rows), static_cast<size_t>(columns)}, flat.cast());
}

}  // namespace jcb::bindings
