// Mamba-3's scan, token after token and never cut along time: one block per head of a sequence. A warp holds a few rows of the state in
// registers, its lanes side by side along the row; what all rows need of a token is prepared in shared memory, one token ahead of the warps
// that still read the last. Heads with more rows than a block holds are walked once for each share of them.
//
// No sum depends on the batch or on where a run was cut: streamed, packed and alone give the same bits.
#include <algorithm>

#include "borders.cuh"
#include "functions.cuh"
#include "mirror.cuh"
#include "rows.cuh"

namespace krait::cuda {
namespace {

constexpr int32_t kTurned = op_number("mamba3_scan");
constexpr int32_t kThreads = 256;
constexpr int32_t kWarps = kThreads / 32;
constexpr int32_t kMostStates = 256;

// A pool of carried states: elements of a slot and of a head in it.
struct Carried {
  float* data;
  int64_t slot, head;

  __device__ float* at(int32_t s, int32_t h) const { return data + s * slot + h * head; }
};

template <typename E>
struct Turned {
  Sequences sequences;
  int32_t H, P, G, N, K;
  Rows<const E> x, dt, a, trap, angle, B, C;
  Rows<E> y;
  Rows<const float> b_bias, c_bias;
  const float *D, *dt_bias;
  Carried state, angles, keys, values;
  bool is_soft;
  float floor;
  int32_t* error_word;
};

__device__ __forceinline__ float heavy_tail(float a) { return a < 0.0f ? 1.0f / (1.0f - a) : 1.0f + a; }

// Θ + π·tanh(angle)·Δ less whole turns, 2π being subtracted in two parts of which the first has few digits.
__device__ __forceinline__ float turn(float theta, float angle, float step) {
  const float turned = fmaf(3.14159265f * tanhf(angle), step, theta);
  const float turns = rintf(turned * 0.159154943f);
  return fmaf(-turns, 1.93530718e-3f, fmaf(-turns, 6.28125f, turned));
}

// kVectors: states of a row that a lane holds. kRows: rows of the state that a warp holds.
template <int kVectors, int kRows, typename E>
__global__ void __launch_bounds__(kThreads) scan_kernel(const Turned<E> a) {
  __shared__ float theta[kMostStates / 2], key[kMostStates];
  __shared__ float old_key[2][kMostStates], new_key[2][kMostStates], query[2][kMostStates];
  const int32_t sequence = static_cast<int32_t>(blockIdx.x / static_cast<uint32_t>(a.H));
  const int32_t head = static_cast<int32_t>(blockIdx.x % static_cast<uint32_t>(a.H));
  const int32_t thread = static_cast<int32_t>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  if (!a.sequences.is_valid(sequence)) {
    if (thread == 0) refuse<kTurned>(a.error_word);
    return;
  }
  const int32_t from = a.sequences.borders[sequence], to = a.sequences.borders[sequence + 1];
  const int32_t slot = a.sequences.slot(sequence);
  if (from == to) return;
  const int32_t group = head / (a.H / a.G);
  const float skip = a.D != nullptr ? a.D[head] : 0.0f;
  const float dt_bias = a.dt_bias != nullptr ? a.dt_bias[head] : 0.0f;
  const float* b_bias = a.b_bias.row(head);
  const float* c_bias = a.c_bias.row(head);

  for (int32_t first = 0; first < a.P; first += kWarps * kRows) {
    // Only the thread that owns a pair of states touches its angle and its key.
    for (int32_t i = thread; i < a.K; i += kThreads) theta[i] = slot < 0 ? 0.0f : a.angles.at(slot, head)[i];
    for (int32_t i = thread; 2 * i < a.N; i += kThreads) {
      for (int32_t n = 2 * i; n < min(2 * i + 2, a.N); ++n) key[n] = slot < 0 ? 0.0f : a.keys.at(slot, head)[n];
    }
    float S[kRows][kVectors], value[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int32_t p = first + warp * kRows + r;
      const bool is_kept = slot >= 0 && p < a.P;
      value[r] = is_kept ? a.values.at(slot, head)[p] : 0.0f;
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const int32_t n = v * 32 + lane;
        S[r][v] = is_kept && n < a.N ? a.state.at(slot, head)[static_cast<int64_t>(p) * a.N + n] : 0.0f;
      }
    }

    for (int32_t t = from; t < to; ++t) {
      const int32_t side = (t - from) % 2;
      const float step = softplus(to_float(a.dt.row(t)[head]) + dt_bias);
      const float raw = to_float(a.a.row(t)[head]);
      const float rate = larger(a.is_soft ? softplus(raw) : heavy_tail(raw), a.floor);
      const float decay = expf(-step * rate);
      const float trap = to_float(a.trap.row(t)[head]);
      // 1 − λ as a sigmoid of its own keeps its digits.
      const float current = sigmoid(trap) * step, last = sigmoid(-trap) * step * decay;
      const E* B = a.B.row(t) + static_cast<int64_t>(group) * a.N;
      const E* C = a.C.row(t) + static_cast<int64_t>(group) * a.N;
      for (int32_t i = thread; 2 * i < a.N; i += kThreads) {
        float sine = 0.0f, cosine = 1.0f;
        if (i < a.K) {
          theta[i] = turn(theta[i], to_float(a.angle.row(t)[i]), step);
          sincosf(theta[i], &sine, &cosine);
        }
        const int32_t even = 2 * i, odd = 2 * i + 1;
        const bool is_pair = odd < a.N;
        const float k0 = to_float(B[even]) + b_bias[even], k1 = is_pair ? to_float(B[odd]) + b_bias[odd] : 0.0f;
        const float q0 = to_float(C[even]) + c_bias[even], q1 = is_pair ? to_float(C[odd]) + c_bias[odd] : 0.0f;
        const float turned_even = k0 * cosine - k1 * sine, turned_odd = k0 * sine + k1 * cosine;
        old_key[side][even] = last * key[even];
        new_key[side][even] = current * turned_even;
        query[side][even] = q0 * cosine - q1 * sine;
        key[even] = turned_even;
        if (is_pair) {
          old_key[side][odd] = last * key[odd];
          new_key[side][odd] = current * turned_odd;
          query[side][odd] = q0 * sine + q1 * cosine;
          key[odd] = turned_odd;
        }
      }
      // The other side is written next, and only by threads that have passed here: one meeting a token is enough.
      __syncthreads();

      const E* x = a.x.row(t) + static_cast<int64_t>(head) * a.P;
      float now[kRows], sum[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int32_t p = first + warp * kRows + r;
        now[r] = p < a.P ? to_float(x[p]) : 0.0f;
        sum[r] = 0.0f;
      }
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const int32_t n = v * 32 + lane;
        const bool is_state = n < a.N;
        const float k0 = is_state ? old_key[side][n] : 0.0f, k1 = is_state ? new_key[side][n] : 0.0f;
        const float q = is_state ? query[side][n] : 0.0f;
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          S[r][v] = fmaf(now[r], k1, fmaf(value[r], k0, decay * S[r][v]));
          sum[r] = fmaf(S[r][v], q, sum[r]);
        }
      }
      E* y = a.y.row(t) + static_cast<int64_t>(head) * a.P;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int32_t distance = 16; distance > 0; distance /= 2) sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], distance);
        const int32_t p = first + warp * kRows + r;
        if (lane == 0 && p < a.P) y[p] = from_float<E>(fmaf(skip, now[r], sum[r]));
        value[r] = now[r];
      }
    }

    if (slot >= 0) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int32_t p = first + warp * kRows + r;
        if (p >= a.P) break;
        if (lane == 0) a.values.at(slot, head)[p] = value[r];
#pragma unroll
        for (int v = 0; v < kVectors; ++v) {
          const int32_t n = v * 32 + lane;
          if (n < a.N) a.state.at(slot, head)[static_cast<int64_t>(p) * a.N + n] = S[r][v];
        }
      }
      // Angles and keys are where every share starts from: the last one replaces them.
      if (first + kWarps * kRows >= a.P) {
        for (int32_t i = thread; 2 * i < a.N; i += kThreads) {
          if (i < a.K) a.angles.at(slot, head)[i] = theta[i];
          for (int32_t n = 2 * i; n < min(2 * i + 2, a.N); ++n) a.keys.at(slot, head)[n] = key[n];
        }
      }
    }
    __syncthreads();
  }
}

template <int kVectors, int kRows, typename E>
void launch(const Turned<E>& a, const Cuda& cuda) {
  const int64_t blocks = static_cast<int64_t>(a.sequences.count) * a.H;
  scan_kernel<kVectors, kRows><<<static_cast<unsigned>(blocks), kThreads, 0, cuda.stream>>>(a);
}

template <typename E>
Status run(const Mamba3ScanArgs& a, const Cuda& cuda) {
  const int64_t T = a.x.dim[0], S = a.cu_seqlens.dim[0] - 1;
  Turned<E> scan{};
  scan.H = static_cast<int32_t>(a.x.dim[1]), scan.P = static_cast<int32_t>(a.x.dim[2]);
  scan.G = static_cast<int32_t>(a.B.dim[1]), scan.N = static_cast<int32_t>(a.B.dim[2]);
  scan.K = static_cast<int32_t>(a.angle.dim[1]);
  if (T == 0 || S <= 0 || scan.H == 0 || scan.P == 0) return {};
  if (Status status = sequences_of("mamba3_scan", a.cu_seqlens, T, a.state, a.state_index, &scan.sequences); !status.ok()) return status;
  if (S * scan.H > INT32_MAX) {
    return error(StatusCode::invalid_argument, "Expected at most 2147483647 heads of sequences for mamba3_scan but received %lld",
                 static_cast<long long>(S * scan.H));
  }
  scan.x = rows_of<const E>(a.x), scan.dt = rows_of<const E>(a.dt), scan.a = rows_of<const E>(a.a);
  scan.trap = rows_of<const E>(a.trap), scan.angle = rows_of<const E>(a.angle);
  scan.B = rows_of<const E>(a.B), scan.C = rows_of<const E>(a.C), scan.y = rows_of<E>(a.y);
  scan.b_bias = rows_of<const float>(a.b_bias), scan.c_bias = rows_of<const float>(a.c_bias);
  scan.D = a.D.as<float>(), scan.dt_bias = a.dt_bias.as<float>();
  const auto carried = [](const Tensor& pool, int64_t head) {
    return pool ? Carried{pool.as<float>(), row_stride(pool), head} : Carried{nullptr, 0, 0};
  };
  scan.state = carried(a.state, static_cast<int64_t>(scan.P) * scan.N);
  scan.angles = carried(a.angle_state, scan.K);
  scan.keys = carried(a.key_state, scan.N);
  scan.values = carried(a.value_state, scan.P);
  scan.is_soft = a.a_activation == Mamba3ScanArgs::AActivation::softplus;
  scan.floor = static_cast<float>(a.a_floor);
  scan.error_word = cuda.error_word;

  if (scan.N <= 32) launch<1, 8>(scan, cuda);
  else if (scan.N <= 64) launch<2, 8>(scan, cuda);
  else if (scan.N <= 128) launch<4, 8>(scan, cuda);
  else launch<8, 8>(scan, cuda);
  return launched("mamba3_scan");
}

Status run_any(const Mamba3ScanArgs& a, const Cuda& cuda) {
  return with_float(a.x.dtype, [&](auto* e) { return run<std::remove_pointer_t<decltype(e)>>(a, cuda); });
}

}  // namespace

Status mamba3_scan(const Mamba3ScanArgs& a, const Cuda& cuda) {
  using Args = Mamba3ScanArgs;
  if (!a.reverse) return run_any(a, cuda);
  return with_mirror("mamba3_scan", a, {&Args::x, &Args::dt, &Args::a, &Args::trap, &Args::angle, &Args::B, &Args::C, &Args::y}, cuda, run_any);
}

}  // namespace krait::cuda
