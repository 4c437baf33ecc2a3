// Files that programs read where they are mapped, and what keeps a file that others change from ending the process or going unseen.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "krait/abi.h"

namespace krait {

struct Guarded;

// A whole file, mapped for reading. Pages that the file loses while they are mapped read as zeros, and `check` tells.
class MappedFile {
 public:
  // Keeps the file open by itself; the name is for messages. `unsupported` where the system or the file cannot be mapped.
  static std::shared_ptr<MappedFile> open(int fd, std::string name, Status* status);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const char* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

  // To be called before the memory is read: whoever took the signal of lost pages since loses it again.
  static void arm();
  // `file_changed` unless all of the file is there and nobody has written to it since it was mapped; once told, for good.
  Status check() const;

 private:
  MappedFile() = default;

  std::string name_;
  int fd_ = -1;
  const char* data_ = nullptr;
  int64_t bytes_ = 0;
  int64_t seconds_ = 0;  // when it was last written to
  int64_t nanoseconds_ = 0;
  Guarded* guarded_ = nullptr;
  mutable std::atomic<bool> is_spoiled_{false};
};

}  // namespace krait
