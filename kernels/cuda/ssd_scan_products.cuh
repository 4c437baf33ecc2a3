// The products of the fused ssd_scan kernel on tiles in shared memory: by warp, and by warpgroup where the machine has them.
#pragma once

#include "mma.cuh"

namespace krait::cuda {

// Keeps the compiler from holding everything that follows from a value in registers from one head to the next.
__device__ __forceinline__ uint32_t anew(uint32_t value) {
  asm volatile("" : "+r"(value));
  return value;
}

__device__ __forceinline__ uint32_t place_of(const void* pointer) { return static_cast<uint32_t>(__cvta_generic_to_shared(pointer)); }

// As those of mma.cuh, by address.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}

// mma_bf16 on four neighbours of a longer array.
__device__ __forceinline__ void mma_four(float* c, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  float four[4] = {c[0], c[1], c[2], c[3]};
  mma_bf16(four, a, b0, b1);
  c[0] = four[0], c[1] = four[1], c[2] = four[2], c[3] = four[3];
}

__device__ __forceinline__ float low_half(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_half(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ __forceinline__ uint32_t scaled(uint32_t pair, uint32_t by) {
  const __nv_bfloat162 product = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&pair), *reinterpret_cast<const __nv_bfloat162*>(&by));
  return *reinterpret_cast<const uint32_t*>(&product);
}
__device__ __forceinline__ uint32_t pair_at(const __nv_bfloat16* at) { return *reinterpret_cast<const uint32_t*>(at); }

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
constexpr bool kWarpgroups = true;

// What threads wrote to shared memory, for warpgroups to read after the next barrier.
__device__ __forceinline__ void settle_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Four warps: c[64, 64] += a[64, 16] · b[64, 16]ᵀ, a and c as in mma_bf16, 16 rows per warp. b lies in rows of 128 bytes whose 16-byte
// pieces are exchanged as chunk_index does, from a multiple of 1,024 bytes on; kTransposed: it lies as [16, 64].
template <bool kTransposed>
__device__ __forceinline__ void warpgroup_product(float (&c)[32], const uint32_t (&a)[4], uint32_t b) {
  constexpr uint64_t kExchanged = 1ull << 62, kEightRows = (1024ull >> 4) << 32, kNoStride = 1ull << 16;
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, {%32, %33, %34, %35}, %36, 1, 1, 1, %37;"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]),
        "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]),
        "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]),
        "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(kExchanged | kEightRows | kNoStride | b >> 4), "n"(kTransposed ? 1 : 0));
}

// c += Σ_k a_k · b_kᵀ; b: panels of 64 rows and 64 columns of K from a shared address on, transposed one panel of 64 columns.
template <int32_t kSteps, bool kTransposed>
__device__ __forceinline__ void warpgroup_products(float (&c)[32], const uint32_t (&a)[kSteps][4], uint32_t b) {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
  for (int32_t k = 0; k < kSteps; ++k) warpgroup_product<kTransposed>(c, a[k], b + (kTransposed ? 2048 * k : 8192 * (k / 4) + 32 * (k % 4)));
  asm volatile("wgmma.commit_group.sync.aligned;\n wgmma.wait_group.sync.aligned 0;" ::: "memory");
  // Not to be read before the wait.
#pragma unroll
  for (int32_t i = 0; i < 32; ++i) asm volatile("" : "+f"(c[i])::"memory");
}
#else
constexpr bool kWarpgroups = false;

__device__ __forceinline__ void settle_shared() {}

template <int32_t kSteps, bool kTransposed>
__device__ __forceinline__ void warpgroup_products(float (&)[32], const uint32_t (&)[kSteps][4], uint32_t) {}
#endif

}  // namespace krait::cuda
