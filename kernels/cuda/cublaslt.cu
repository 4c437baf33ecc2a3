#include "cublaslt.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#include <type_traits>
#define KRAIT_HAS_CUBLASLT_HEADER 1
#endif

namespace krait::cuda {
namespace {

// Declared by hand so that no header is needed; the same in cuBLASLt 12 and 13. Statuses and attributes are C enumerations.
constexpr int kSuccess = 0;
constexpr int kCompute32F = 68;
constexpr int kReal32F = 0, kReal16BF = 14;
constexpr int32_t kTransposed = 1;
constexpr int kDescTransposeA = 3, kDescEpilogue = 7, kDescBiasPointer = 8, kDescBiasType = 26;
constexpr uint32_t kEpilogueDefault = 1, kEpilogueRelu = 2, kEpilogueBias = 4, kEpilogueGelu = 32;
constexpr int kPreferWorkspace = 1, kPreferReductions = 3;
constexpr int kPreferAlignmentA = 5, kPreferAlignmentB = 6, kPreferAlignmentC = 7, kPreferAlignmentD = 8;
constexpr uint32_t kReductionInFloat = 2;

struct Algorithm {
  uint64_t data[8];
};
struct Choice {
  Algorithm algorithm;
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
};

struct Functions {
  size_t (*version)();
  int (*create)(void**);
  int (*desc_create)(void**, int compute, int scale);
  int (*desc_destroy)(void*);
  int (*desc_set)(void*, int attribute, const void* value, size_t bytes);
  int (*layout_create)(void**, int type, uint64_t rows, uint64_t columns, int64_t stride);
  int (*layout_destroy)(void*);
  int (*preference_create)(void**);
  int (*preference_destroy)(void*);
  int (*preference_set)(void*, int attribute, const void* value, size_t bytes);
  int (*choose)(void*, void*, void*, void*, void*, void*, void*, int wanted, Choice*, int* found);
  int (*multiply)(void*, void*, const void*, const void*, void*, const void*, void*, const void*, const void*, void*, void*, void*,
                  const Algorithm*, void*, size_t, cudaStream_t);
};

#ifdef KRAIT_HAS_CUBLASLT_HEADER
// Where the header exists, what is declared above must agree with it up to the names of pointed-to and enumerated types.
template <typename T>
using Bare = std::conditional_t<std::is_pointer_v<T>, void*, std::conditional_t<std::is_enum_v<T>, int, T>>;
template <typename R, typename... A>
auto bare(R (*)(A...)) -> Bare<R> (*)(Bare<A>...);
#define KRAIT_AGREES(member, function) \
  static_assert(std::is_same_v<decltype(bare(Functions{}.member)), decltype(bare(&function))>)
KRAIT_AGREES(version, cublasLtGetVersion);
KRAIT_AGREES(create, cublasLtCreate);
KRAIT_AGREES(desc_create, cublasLtMatmulDescCreate);
KRAIT_AGREES(desc_destroy, cublasLtMatmulDescDestroy);
KRAIT_AGREES(desc_set, cublasLtMatmulDescSetAttribute);
KRAIT_AGREES(layout_create, cublasLtMatrixLayoutCreate);
KRAIT_AGREES(layout_destroy, cublasLtMatrixLayoutDestroy);
KRAIT_AGREES(preference_create, cublasLtMatmulPreferenceCreate);
KRAIT_AGREES(preference_destroy, cublasLtMatmulPreferenceDestroy);
KRAIT_AGREES(preference_set, cublasLtMatmulPreferenceSetAttribute);
KRAIT_AGREES(choose, cublasLtMatmulAlgoGetHeuristic);
KRAIT_AGREES(multiply, cublasLtMatmul);
#undef KRAIT_AGREES
static_assert(kSuccess == CUBLAS_STATUS_SUCCESS && kCompute32F == CUBLAS_COMPUTE_32F && kTransposed == CUBLAS_OP_T);
static_assert(kReal32F == CUDA_R_32F && kReal16BF == CUDA_R_16BF);
static_assert(kDescTransposeA == CUBLASLT_MATMUL_DESC_TRANSA && kDescEpilogue == CUBLASLT_MATMUL_DESC_EPILOGUE);
static_assert(kDescBiasPointer == CUBLASLT_MATMUL_DESC_BIAS_POINTER && kDescBiasType == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE);
static_assert(kEpilogueDefault == CUBLASLT_EPILOGUE_DEFAULT && kEpilogueRelu == CUBLASLT_EPILOGUE_RELU);
static_assert(kEpilogueBias == CUBLASLT_EPILOGUE_BIAS && kEpilogueGelu == CUBLASLT_EPILOGUE_GELU);
static_assert((kEpilogueRelu | kEpilogueBias) == CUBLASLT_EPILOGUE_RELU_BIAS && (kEpilogueGelu | kEpilogueBias) == CUBLASLT_EPILOGUE_GELU_BIAS);
static_assert(kPreferWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES && kPreferReductions == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
static_assert(kPreferAlignmentA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES && kPreferAlignmentB == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
static_assert(kPreferAlignmentC == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES && kPreferAlignmentD == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(kReductionInFloat == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
static_assert(sizeof(Algorithm) == sizeof(cublasLtMatmulAlgo_t) && sizeof(Choice) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(Choice, workspace) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize) &&
              offsetof(Choice, status) == offsetof(cublasLtMatmulHeuristicResult_t, state));
#endif

class Library {
 public:
  Functions call{};
  bool found = false;
  std::string version = "own";
  std::string detail;

  Library() {
    const char* asked = std::getenv("KRAIT_CUBLASLT");
    if (asked != nullptr && std::strcmp(asked, "off") == 0) {
      detail = "turned off by KRAIT_CUBLASLT=off";
      return;
    }
    if (asked != nullptr && *asked != 0) {
      if (!open(asked)) detail = "not usable at KRAIT_CUBLASLT: " + detail;
      return;
    }
    std::vector<std::string> folders = {""};
    for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
      const char* home = std::getenv(name);
      if (home != nullptr && *home != 0) folders.push_back(std::string(home) + "/lib64/");
    }
    folders.push_back("/usr/local/cuda/lib64/");
    std::string trouble;
    for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
      for (const std::string& folder : folders) {
        if (open(folder + name)) return;
        // A file that is missing is not worth a word; one that does not load is.
        if (detail.find("No such file") == std::string::npos) trouble += "; " + detail;
      }
    }
    detail = "libcublasLt.so.13 and .12 not found by the loader";
    for (size_t i = 1; i < folders.size(); ++i) detail += (i + 1 < folders.size() ? ", in " : " or in ") + folders[i];
    detail += trouble;
  }

  // Products belong to a device; each gets its handle on first use and keeps it for the life of the process.
  void* handle(int32_t device) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto known = handles_.find(device);
    if (known != handles_.end()) return known->second;
    void* handle = nullptr;
    if (call.create(&handle) != kSuccess) handle = nullptr;
    handles_[device] = handle;
    return handle;
  }

  using Key = std::array<int64_t, 12>;

  // The algorithm for a product seen before. False when it is new.
  bool recall(const Key& key, Choice* choice) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto known = choices_.find(key);
    if (known == choices_.end()) return false;
    *choice = known->second;
    return true;
  }

  void remember(const Key& key, const Choice& choice) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (choices_.size() >= kMostChoices) choices_.clear();
    choices_[key] = choice;
  }

 private:
  // Streams meet few shapes; this only bounds what a stream of ever new lengths may hold.
  static constexpr size_t kMostChoices = 4096;

  bool open(const std::string& path) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      const char* reason = dlerror();
      detail = reason != nullptr ? reason : path;
      return false;
    }
    bool complete = true;
    const auto bind = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
      complete = complete && function != nullptr;
    };
    bind(call.version, "cublasLtGetVersion");
    bind(call.create, "cublasLtCreate");
    bind(call.desc_create, "cublasLtMatmulDescCreate");
    bind(call.desc_destroy, "cublasLtMatmulDescDestroy");
    bind(call.desc_set, "cublasLtMatmulDescSetAttribute");
    bind(call.layout_create, "cublasLtMatrixLayoutCreate");
    bind(call.layout_destroy, "cublasLtMatrixLayoutDestroy");
    bind(call.preference_create, "cublasLtMatmulPreferenceCreate");
    bind(call.preference_destroy, "cublasLtMatmulPreferenceDestroy");
    bind(call.preference_set, "cublasLtMatmulPreferenceSetAttribute");
    bind(call.choose, "cublasLtMatmulAlgoGetHeuristic");
    bind(call.multiply, "cublasLtMatmul");
    const size_t number = complete ? call.version() : 0;
    if (number < 120000) {
      detail = path + " is no cuBLASLt 12 or newer";
      dlclose(library);
      return false;
    }
    char text[48];
    std::snprintf(text, sizeof(text), "cublaslt %zu.%zu.%zu", number / 10000, number / 100 % 100, number % 100);
    version = text;
    Dl_info where;
    detail = dladdr(reinterpret_cast<void*>(call.multiply), &where) != 0 && where.dli_fname != nullptr ? where.dli_fname : path;
    found = true;
    return true;
  }

  std::mutex mutex_;
  std::map<int32_t, void*> handles_;
  std::map<Key, Choice> choices_;
};

Library& library() {
  // Never destroyed: at the end of the process other threads may still be in it.
  static Library* instance = new Library();
  return *instance;
}

constexpr int data_type(DType dtype) { return dtype == DType::f32 ? kReal32F : kReal16BF; }

// The largest power of two up to 256 that divides an address.
uint32_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data) | 256;
  return static_cast<uint32_t>(address & (~address + 1));
}

// What the epilogue of the product can do; 0 when bias and activation need a pass of their own.
uint32_t epilogue_of(const Product& p) {
  using K = LinearArgs::Activation;
  // cuBLASLt reads the bias in the dtype of y.
  if (p.bias != nullptr && (p.bias_dtype != p.y_dtype || alignment_of(p.bias) < 16)) return 0;
  const uint32_t bias = p.bias != nullptr ? kEpilogueBias : 0;
  switch (p.activation) {
    case K::identity: return bias != 0 ? bias : kEpilogueDefault;
    case K::relu: return kEpilogueRelu | bias;
    // Its tanh is good for bfloat16 only.
    case K::gelu_tanh: return p.y_dtype == DType::bf16 ? kEpilogueGelu | bias : 0;
    default: return 0;
  }
}

// The descriptors of one call, destroyed with it. In cuBLASLt's column-major eyes y is [width, rows] = op(weight) · x.
class Descriptors {
 public:
  Descriptors(const Functions& call, const Product& p, uint32_t epilogue) : call_(call) {
    const auto step = [&](int status) { good = good && status == kSuccess; };
    step(call.desc_create(&desc, kCompute32F, kReal32F));
    if (!good) return;
    step(call.desc_set(desc, kDescTransposeA, &kTransposed, sizeof(kTransposed)));
    step(call.desc_set(desc, kDescEpilogue, &epilogue, sizeof(epilogue)));
    if ((epilogue & kEpilogueBias) != 0) {
      const int32_t type = data_type(p.bias_dtype);
      step(call.desc_set(desc, kDescBiasPointer, &p.bias, sizeof(p.bias)));
      step(call.desc_set(desc, kDescBiasType, &type, sizeof(type)));
    }
    const auto size = [](int64_t n) { return static_cast<uint64_t>(n); };
    step(call.layout_create(&weight, data_type(p.dtype), size(p.depth), size(p.width), p.weight_stride));
    step(call.layout_create(&x, data_type(p.dtype), size(p.depth), size(p.rows), p.x_stride));
    step(call.layout_create(&y, data_type(p.y_dtype), size(p.width), size(p.rows), p.y_stride));
  }
  ~Descriptors() {
    for (void* layout : {weight, x, y}) {
      if (layout != nullptr) call_.layout_destroy(layout);
    }
    if (desc != nullptr) call_.desc_destroy(desc);
  }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;

  void* desc = nullptr;
  void* weight = nullptr;
  void* x = nullptr;
  void* y = nullptr;
  bool good = true;

 private:
  const Functions& call_;
};

// Asks the heuristics; the status of the choice is not success when there is none.
Choice choose(const Functions& call, void* handle, const Descriptors& d, const Product& p, int64_t workspace) {
  Choice choice{};
  choice.status = -1;
  void* preference = nullptr;
  if (call.preference_create(&preference) != kSuccess) return choice;
  bool good = true;
  const auto set = [&](int attribute, auto value) {
    good = good && call.preference_set(preference, attribute, &value, sizeof(value)) == kSuccess;
  };
  set(kPreferWorkspace, static_cast<uint64_t>(workspace));
  set(kPreferReductions, kReductionInFloat);
  set(kPreferAlignmentA, alignment_of(p.weight));
  set(kPreferAlignmentB, alignment_of(p.x));
  set(kPreferAlignmentC, alignment_of(p.y));
  set(kPreferAlignmentD, alignment_of(p.y));
  int found = 0;
  if (!good || call.choose(handle, d.desc, d.weight, d.x, d.y, d.y, preference, 1, &choice, &found) != kSuccess || found < 1) {
    choice.status = -1;
  }
  call.preference_destroy(preference);
  return choice;
}

bool multiply(Library& lt, void* handle, const Product& p, uint32_t epilogue, const Cuda& cuda) {
  const Descriptors d(lt.call, p, epilogue);
  if (!d.good) return false;
  const Library::Key key = {cuda.device,
                            p.rows,
                            p.width,
                            p.depth,
                            p.x_stride,
                            p.weight_stride,
                            p.y_stride,
                            static_cast<int64_t>(p.dtype) << 8 | static_cast<int64_t>(p.y_dtype),
                            epilogue,
                            alignment_of(p.x) << 16 | alignment_of(p.weight),
                            alignment_of(p.y),
                            p.bias != nullptr ? alignment_of(p.bias) : 0};
  Choice choice;
  if (!lt.recall(key, &choice)) {
    choice = choose(lt.call, handle, d, p, cuda.workspace_bytes);
    lt.remember(key, choice);
  }
  if (choice.status != kSuccess) return false;
  const float one = 1, zero = 0;
  const bool done = lt.call.multiply(handle, d.desc, &one, p.weight, d.weight, p.x, d.x, &zero, p.y, d.y, p.y, d.y, &choice.algorithm,
                                     cuda.workspace, static_cast<size_t>(cuda.workspace_bytes), cuda.stream) == kSuccess;
  if (!done) {
    choice.status = -1;
    lt.remember(key, choice);
  }
  return done;
}

}  // namespace

Leftover cublaslt_product(const Product& p, const Cuda& cuda) {
  Library& lt = library();
  if (!lt.found || p.depth == 0) return {};
  void* handle = lt.handle(cuda.device);
  if (handle == nullptr) return {};
  // Rows in parts of fewer than 2^31 elements: no kernel of the library then meets an offset that needs more than 32 bits.
  const int64_t longest = std::max({p.x_stride, p.y_stride, p.depth, p.width});
  const int64_t most = std::max<int64_t>(((int64_t{1} << 31) - 1) / longest / 128 * 128, 128);
  const auto all_rows = [&](uint32_t epilogue) {
    Product part = p;
    for (int64_t row = 0; row < p.rows; row += most) {
      part.rows = std::min(most, p.rows - row);
      part.x = static_cast<const char*>(p.x) + row * p.x_stride * dtype_size(p.dtype);
      part.y = static_cast<char*>(p.y) + row * p.y_stride * dtype_size(p.y_dtype);
      if (!multiply(lt, handle, part, epilogue, cuda)) return false;
    }
    return true;
  };
  const uint32_t fused = epilogue_of(p);
  if (fused != 0 && all_rows(fused)) return {false, false};
  if (fused != kEpilogueDefault && all_rows(kEpilogueDefault)) return {false, true};
  // What was refused in the middle the caller makes again as a whole.
  return {};
}

void cublaslt_describe(const char** version, const char** detail) {
  *version = library().version.c_str();
  *detail = library().detail.c_str();
}

}  // namespace krait::cuda
