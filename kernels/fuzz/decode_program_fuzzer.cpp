// libFuzzer on the program decoder. Only clang brings libFuzzer:
//   cmake -G Ninja -S . -B build/fuzz -DCMAKE_CXX_COMPILER=clang++ -DKRAIT_FUZZ=ON -DKRAIT_CUDA=OFF && ninja -C build/fuzz decode_program_fuzzer
//   node kernels/test/write-programs.mjs build/fuzz/corpus && build/fuzz/decode_program_fuzzer -max_total_time=600 build/fuzz/corpus
// The magic number and the hash of the op records are put right first: no mutation would guess them.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "test/bounds.h"
#include "test/random.h"

namespace {

void put(std::vector<unsigned char>* bytes, size_t word, uint64_t value) { std::memcpy(bytes->data() + 8 * word, &value, 8); }

void require(const std::string& wrong) {
  if (wrong.empty()) return;
  std::fprintf(stderr, "%s\n", wrong.c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace krait;
  std::vector<unsigned char> bytes(data, data + size);
  if (size >= 40) {
    put(&bytes, 0, kProgramMagic);
    for (size_t i = 0; i < 4; ++i) put(&bytes, 1 + i, std::strtoull(std::string(kAbiHash + 16 * i, 16).c_str(), nullptr, 16));
  }
  Program program;
  if (!decode_program(bytes.data(), static_cast<int64_t>(size), &program).ok()) return 0;
  std::vector<int64_t> symbols;
  for (const SymbolInfo& symbol : program.symbols) symbols.push_back(symbol.capacity);
  Shapes shapes;
  if (!resolve_shapes(program, symbols, &shapes).ok()) require("accepted, but its own capacities are refused");
  require(test::outside(program, shapes));
  test::Random random(size);
  for (int64_t& symbol : symbols) symbol = random.below(symbol + 1);
  if (resolve_shapes(program, symbols, &shapes).ok()) require(test::outside(program, shapes));
  return 0;
}
