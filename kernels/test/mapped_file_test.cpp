// Mapped files that others cut or write to, and signals that are somebody else's: under the sanitizers, which have a handler of their own.
#include "executor/mapped_file.h"

#if defined(__linux__)

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "check.h"

namespace krait::test {
namespace {

constexpr int64_t kPage = 4096;
constexpr int64_t kBytes = 8 * kPage + 100;

// A file of ones without a name, written long ago: times have a grain, in which a second write could not be seen.
int file_of_ones() {
  char name[] = "/tmp/krait-mapped-XXXXXX";
  const int fd = mkstemp(name);
  unlink(name);
  const std::vector<char> ones(kBytes, 1);
  const timespec long_ago[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  if (write(fd, ones.data(), ones.size()) != kBytes || futimens(fd, long_ago) != 0) std::abort();
  return fd;
}

int64_t sum_of(const MappedFile& file) {
  int64_t sum = 0;
#pragma omp parallel for num_threads(3) reduction(+ : sum)
  for (int64_t i = 0; i < file.bytes(); ++i) sum += static_cast<const volatile char*>(file.data())[i];
  return sum;
}

bool is_changed(const MappedFile& file) { return file.check().code == StatusCode::file_changed; }

const Adds cut("mapped file: one that is cut reads as zeros on any thread, and is told", [] {
  const int fd = file_of_ones();
  Status status;
  const auto file = MappedFile::open(fd, "cut", &status);
  const auto other_fd = file_of_ones();
  const auto other = MappedFile::open(other_fd, "other", &status);
  std::string wrong;
  if (!status.ok() || sum_of(*file) != kBytes || !file->check().ok()) wrong = "it is not what it was before";
  if (wrong.empty() && ftruncate(fd, kPage) != 0) wrong = "no cut";
  if (wrong.empty() && sum_of(*file) > kPage) wrong = "bytes that the file has lost";
  if (wrong.empty() && !is_changed(*file)) wrong = "the cut was not told";
  // As long again, with zeros: what was lost stays lost.
  if (wrong.empty() && (ftruncate(fd, kBytes) != 0 || !is_changed(*file))) wrong = "the cut was forgotten";
  if (wrong.empty() && (sum_of(*other) != kBytes || !other->check().ok())) wrong = "another file was touched";
  close(fd);
  close(other_fd);
  return wrong;
});

const Adds written("mapped file: one that is written to is told, one that loses its name is not", [] {
  const int fd = file_of_ones();  // it has no name any more
  Status status;
  const auto file = MappedFile::open(fd, "written", &status);
  if (!status.ok() || !file->check().ok()) return std::string("it was told before");
  if (pwrite(fd, "2", 1, kPage) != 1) return std::string("no write");
  close(fd);
  return std::string(is_changed(*file) ? "" : "the write was not told");
});

// A mapping that is not ours, with nothing behind it.
const volatile char* hole() {
  const int fd = file_of_ones();
  const void* at = mmap(nullptr, kBytes, PROT_READ, MAP_PRIVATE, fd, 0);
  if (ftruncate(fd, 0) != 0) std::abort();
  close(fd);
  return static_cast<const volatile char*>(at);
}

// How a process ends that runs into the hole.
int end_of_fault(bool by_default) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    const int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, 2);
    if (by_default) std::signal(SIGBUS, SIG_DFL);
    MappedFile::arm();
    _exit(hole()[kPage]);
  }
  int ended = 0;
  waitpid(child, &ended, 0);
  return ended;
}

// In front of the tests that put handlers of their own behind ours.
const Adds ends("mapped file: a fault that nobody takes ends the process, by the sanitizer's handler or the system", [] {
  Status status;
  const int fd = file_of_ones();
  const auto file = MappedFile::open(fd, "ours", &status);
  close(fd);
  const int sanitized = end_of_fault(false);
  if (!WIFEXITED(sanitized) || WEXITSTATUS(sanitized) == 0) return text("the sanitizer's handler was left out: %d", sanitized);
  const int by_default = end_of_fault(true);
  if (!WIFSIGNALED(by_default) || WTERMSIG(by_default) != SIGBUS) return text("no end by the signal: %d", by_default);
  return std::string();
});

int others_calls = 0;
void others_handler(int, siginfo_t* info, void*) {
  ++others_calls;
  void* page = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(info->si_addr) / kPage * kPage);
  mmap(page, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

const Adds handed_on("mapped file: a fault elsewhere goes to the handler before, also to one that took our place", [] {
  Status status;
  int fd = file_of_ones();
  auto file = MappedFile::open(fd, "ours", &status);
  struct sigaction others = {};
  struct sigaction before = {};
  others.sa_sigaction = others_handler;
  others.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &others, &before);
  MappedFile::arm();
  std::string wrong;
  const volatile char* elsewhere = hole();
  if (elsewhere[kPage] != 0 || others_calls != 1) wrong = text("%d calls of the other handler for its own page", others_calls);
  if (wrong.empty() && (ftruncate(fd, 0) != 0 || sum_of(*file) != 0 || others_calls != 1)) wrong = "our page went to the other handler";
  if (wrong.empty() && (elsewhere[2 * kPage] != 0 || others_calls != 2)) wrong = "the other handler was forgotten";
  munmap(const_cast<char*>(elsewhere), kBytes);
  close(fd);
  sigaction(SIGBUS, &before, nullptr);
  return wrong;
});

const Adds used_again("mapped file: ranges of files that are gone guard nothing", [] {
  Status status;
  for (int i = 0; i < 100; ++i) {
    const int fd = file_of_ones();
    auto file = MappedFile::open(fd, "one of many", &status);
    if (!status.ok() || !file->check().ok()) return text("file %d", i);
    if (i % 3 == 0 && (ftruncate(fd, 0) != 0 || sum_of(*file) != 0)) return text("cut file %d", i);
    close(fd);
  }
  return std::string();
});

const Adds refused("mapped file: what cannot be mapped is refused", [] {
  int ends[2];
  if (pipe(ends) != 0) return std::string("no pipe");
  for (const int fd : {ends[0], -1}) {
    Status status;
    if (MappedFile::open(fd, "none", &status) != nullptr || status.code != StatusCode::unsupported) return text("%d was mapped", fd);
  }
  close(ends[0]);
  close(ends[1]);
  return std::string();
});

}  // namespace
}  // namespace krait::test

#endif
