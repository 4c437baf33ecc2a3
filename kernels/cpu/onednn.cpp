#include "onednn.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#if __has_include(<dnnl.h>)
#include <dnnl.h>
#include <type_traits>
#define KRAIT_HAS_DNNL_HEADER 1
#endif

namespace krait::cpu {
namespace {

// Declared by hand so that no header is needed; the same in oneDNN 2 and 3. dnnl_sgemm is row-major and returns 0 on success.
using SgemmFunction = int (*)(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha, const float* a, int64_t lda,
                              const float* b, int64_t ldb, float beta, float* c, int64_t ldc);
// Exported but not in the headers: the same with bf16 patterns, from oneDNN 1 on.
using BfloatFunction = int (*)(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha, const uint16_t* a, int64_t lda,
                               const uint16_t* b, int64_t ldb, float beta, float* c, int64_t ldc);
struct Version {
  int major;
  int minor;
  int patch;
};
using VersionFunction = const Version* (*)();

#ifdef KRAIT_HAS_DNNL_HEADER
// The result is an enumeration there; all else must agree.
template <typename F>
struct WithIntResult;
template <typename R, typename... A>
struct WithIntResult<R (*)(A...)> {
  using type = int (*)(A...);
};
static_assert(std::is_same_v<WithIntResult<decltype(&dnnl_sgemm)>::type, SgemmFunction>);
#endif

bool has_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

// What KRAIT_ONEDNN says.
bool is_told(const char* what) {
  const char* told = std::getenv("KRAIT_ONEDNN");
  return told != nullptr && std::strcmp(told, what) == 0;
}

struct Library {
  SgemmFunction sgemm = nullptr;
  BfloatFunction bf16 = nullptr;
  char version[32] = "own";

  Library() {
    if (is_told("off")) return;
    for (const char* name : {"libdnnl.so.3", "libdnnl.so.2"}) {
      void* handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
      if (handle == nullptr) continue;
      sgemm = reinterpret_cast<SgemmFunction>(dlsym(handle, "dnnl_sgemm"));
      const auto version_of = reinterpret_cast<VersionFunction>(dlsym(handle, "dnnl_version"));
      if (sgemm == nullptr || version_of == nullptr) {
        sgemm = nullptr;
        dlclose(handle);
        continue;
      }
      if (has_bf16()) bf16 = reinterpret_cast<BfloatFunction>(dlsym(handle, "dnnl_gemm_bf16bf16f32"));
      const Version* v = version_of();
      std::snprintf(version, sizeof(version), "onednn %d.%d.%d", v->major, v->minor, v->patch);
      return;
    }
  }
};

const Library& library() {
  static const Library instance;
  return instance;
}

}  // namespace

bool onednn_gemm_nt(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
                    int64_t ldc) {
  const SgemmFunction sgemm = library().sgemm;
  return sgemm != nullptr && sgemm('N', 'T', m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc) == 0;
}

bool onednn_gemm_nt(int64_t m, int64_t n, int64_t k, const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb, float beta, float* c,
                    int64_t ldc) {
  const BfloatFunction bf16 = library().bf16;
  return bf16 != nullptr && bf16('N', 'T', m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc) == 0;
}

bool onednn_is_there() { return library().sgemm != nullptr; }

bool onednn_is_wanted() {
  static const bool wanted = onednn_is_there() && is_told("on");
  return wanted;
}

bool onednn_has_bf16() { return library().bf16 != nullptr; }

const char* onednn_version() { return library().version; }

}  // namespace krait::cpu
