// Vectors to codes and back. The rules are those of Backend.quantize in jcb_engine/kernels/interface.py.
#pragma once
#include <cstdint>

#include "jcb/machine.h"
#include "jcb/store.h"

namespace jcb {

// vectors: [T, D], centroid_ids: [T] -> codes: [T, code_bytes], sigmas and norms: [T] fp16 bits. nbits 1, 2, 4 or 8.
// Throws CorruptIndex on a centroid id that the codec does not have.
void quantize(const Machine& machine, const CodecView& codec, const float* vectors, const uint32_t* centroid_ids,
              int64_t tokens, uint8_t* codes, uint16_t* sigmas, uint16_t* norms);

// The stored form -> vectors: [T, D]. Throws like quantize.
void dequantize(const Machine& machine, const CodecView& codec, const uint32_t* centroid_ids, const uint8_t* codes,
                const uint16_t* sigmas, const uint16_t* norms, int64_t tokens, float* vectors);

}  // namespace jcb
