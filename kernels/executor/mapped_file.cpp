#include "mapped_file.h"

#if defined(__linux__)

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <utility>

namespace krait {

// A range of addresses as the signal handler finds it. They are never freed, only used again, so that it may walk over them at any time.
struct Guarded {
  std::atomic<uint32_t> version{0};  // odd while the range changes
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> lost{false};
  bool free = false;
  Guarded* next = nullptr;
};

namespace {

static_assert(std::atomic<uintptr_t>::is_always_lock_free && std::atomic<Guarded*>::is_always_lock_free);

std::mutex guarded_mutex;  // of those who change ranges
std::atomic<Guarded*> all_guarded{nullptr};
// Who had the signal before. A handler may look at it at any time, so the older ones stay; they are few.
struct Previous {
  struct sigaction action;
  const Previous* older;
};
std::atomic<const Previous*> last_previous{nullptr};
// The thread that hands the signal on: a handler that took the signal from this one may hand it back.
std::atomic<long> handing_on{0};

// The range that holds the address. One that changes just now is not the one that faults, which somebody still reads.
Guarded* range_of(uintptr_t address, uintptr_t* begin, uintptr_t* end) {
  for (Guarded* at = all_guarded.load(std::memory_order_acquire); at != nullptr; at = at->next) {
    const uint32_t version = at->version.load(std::memory_order_acquire);
    *begin = at->begin.load(std::memory_order_relaxed);
    *end = at->end.load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (version % 2 == 0 && at->version.load(std::memory_order_relaxed) == version && address >= *begin && address < *end) return at;
  }
  return nullptr;
}

// Puts zeros in the place of the whole mapping, so that it faults no more: what is read of it is refused anyhow.
bool replace(uintptr_t address) {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  Guarded* range = range_of(address, &begin, &end);
  if (range == nullptr) return false;
  // Before the zeros are there, since another thread may read them at once.
  range->lost.store(true, std::memory_order_release);
  void* const at = reinterpret_cast<void*>(begin);
  return mmap(at, end - begin, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == at;
}

// Ends the process as the system would have.
void end_by(int signal) {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigaction(signal, &action, nullptr);
  raise(signal);
}

void hand_on(int signal, siginfo_t* info, void* context) {
  const Previous* last = last_previous.load(std::memory_order_acquire);
  const long thread = syscall(SYS_gettid);
  if (last == nullptr || handing_on.exchange(thread) == thread) return end_by(signal);
  const struct sigaction& previous = last->action;
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler == SIG_DFL || (previous.sa_handler == SIG_IGN && info->si_code > 0)) {
    end_by(signal);  // nobody can ignore a fault of his own
  } else if (previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  }
  handing_on.store(0);
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int kept = errno;
  const bool is_ours = info->si_code == BUS_ADRERR && replace(reinterpret_cast<uintptr_t>(info->si_addr));
  if (!is_ours) hand_on(signal, info, context);
  errno = kept;
}

Guarded* guard(uintptr_t begin, uintptr_t end) {
  const std::lock_guard<std::mutex> lock(guarded_mutex);
  Guarded* found = all_guarded.load(std::memory_order_relaxed);
  while (found != nullptr && !found->free) found = found->next;
  const bool is_new = found == nullptr;
  if (is_new) {
    found = new Guarded();
    found->next = all_guarded.load(std::memory_order_relaxed);
  }
  found->version.fetch_add(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  found->begin.store(begin, std::memory_order_relaxed);
  found->end.store(end, std::memory_order_relaxed);
  found->lost.store(false, std::memory_order_relaxed);
  found->free = false;
  found->version.fetch_add(1, std::memory_order_release);
  if (is_new) all_guarded.store(found, std::memory_order_release);
  return found;
}

void unguard(Guarded* range) {
  const std::lock_guard<std::mutex> lock(guarded_mutex);
  range->version.fetch_add(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  range->begin.store(0, std::memory_order_relaxed);
  range->end.store(0, std::memory_order_relaxed);
  range->version.fetch_add(1, std::memory_order_release);
  range->free = true;
}

// The end of a name says more than its beginning, and a message has little room.
const char* end_of(const std::string& name) {
  constexpr size_t kMost = 100;
  return name.c_str() + (name.size() > kMost ? name.size() - kMost : 0);
}

Status refused(const char* what) { return error(StatusCode::unsupported, "Expected a file that can be mapped but the system said: %s", what); }

}  // namespace

void MappedFile::arm() {
  const auto is_ours = [](const struct sigaction& action) { return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == on_bus_error; };
  struct sigaction now = {};
  if (sigaction(SIGBUS, nullptr, &now) == 0 && is_ours(now)) return;
  const std::lock_guard<std::mutex> lock(guarded_mutex);
  if (sigaction(SIGBUS, nullptr, &now) != 0 || is_ours(now)) return;
  last_previous.store(new Previous{now, last_previous.load()}, std::memory_order_release);
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  action.sa_mask = now.sa_mask;
  sigaction(SIGBUS, &action, nullptr);
}

std::shared_ptr<MappedFile> MappedFile::open(int fd, std::string name, Status* status) {
  std::shared_ptr<MappedFile> file(new MappedFile());
  file->name_ = std::move(name);
  file->fd_ = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  struct stat found = {};
  if (file->fd_ < 0 || fstat(file->fd_, &found) != 0) {
    *status = refused(std::strerror(errno));
    return nullptr;
  }
  if (!S_ISREG(found.st_mode) || found.st_size <= 0) {
    *status = refused("it is none of bytes");
    return nullptr;
  }
  void* data = mmap(nullptr, static_cast<size_t>(found.st_size), PROT_READ, MAP_PRIVATE, file->fd_, 0);
  if (data == MAP_FAILED) {
    *status = refused(std::strerror(errno));
    return nullptr;
  }
  file->data_ = static_cast<const char*>(data);
  file->bytes_ = found.st_size;
  file->seconds_ = found.st_mtim.tv_sec;
  file->nanoseconds_ = found.st_mtim.tv_nsec;
  const auto begin = reinterpret_cast<uintptr_t>(data);
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  file->guarded_ = guard(begin, (begin + static_cast<uintptr_t>(file->bytes_) + page - 1) / page * page);
  arm();
  return file;
}

MappedFile::~MappedFile() {
  if (guarded_ != nullptr) unguard(guarded_);
  if (data_ != nullptr) munmap(const_cast<char*>(data_), static_cast<size_t>(bytes_));
  if (fd_ >= 0) ::close(fd_);
}

Status MappedFile::check() const {
  const auto changed = [&](const char* what) {
    is_spoiled_.store(true);
    return error(StatusCode::file_changed, "Expected %s to stay as it was when it was loaded but %s", end_of(name_), what);
  };
  struct stat now = {};
  if (fstat(fd_, &now) != 0) return changed(std::strerror(errno));
  if (now.st_size != bytes_) return changed(now.st_size < bytes_ ? "it was cut" : "it grew");
  if (now.st_mtim.tv_sec != seconds_ || now.st_mtim.tv_nsec != nanoseconds_) return changed("it was written to");
  if (guarded_->lost.load(std::memory_order_acquire)) return changed("a part of it could not be read");
  if (is_spoiled_.load()) return changed("it was another for a while");
  return {};
}

}  // namespace krait

#else

namespace krait {

std::shared_ptr<MappedFile> MappedFile::open(int, std::string, Status* status) {
  *status = error(StatusCode::unsupported, "Expected a system on which files are mapped but received another");
  return nullptr;
}
MappedFile::~MappedFile() = default;
void MappedFile::arm() {}
Status MappedFile::check() const { return {}; }

}  // namespace krait

#endif
