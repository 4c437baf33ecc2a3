// The machine's rates and the plain scalar loops that kernels are compared with: native NAME [SIZES…] prints one JSON object.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench.h"

int main(int argc, char** argv) {
  std::vector<long> sizes;
  for (int i = 2; i < argc; ++i) sizes.push_back(std::atol(argv[i]));
  const std::string name = argc > 1 ? argv[1] : "";
  if (name == "machine" && sizes.empty()) {
    machine();
  } else if (name == "selective_scan" && sizes.size() == 3) {
    print_ms(selective_scan(sizes[0], sizes[1], sizes[2]));
  } else if (name == "ssd_scan" && sizes.size() == 4) {
    print_ms(ssd_scan(sizes[0], sizes[1], sizes[2], sizes[3]));
  } else if (name == "causal_conv1d" && sizes.size() == 3) {
    print_ms(causal_conv1d(sizes[0], sizes[1], sizes[2]));
  } else {
    std::fprintf(stderr, "Expected machine, selective_scan T C N, ssd_scan T H P N or causal_conv1d T C W\n");
    return 2;
  }
  return 0;
}
