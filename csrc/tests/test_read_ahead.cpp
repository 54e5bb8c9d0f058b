// Reading ahead: ranges become whole pages, each once; pages that are not in memory are seen, and come when asked for.
#include "jcb/read_ahead.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <set>
#include <string>
#include <thread>

#include "check.h"

namespace {

using jcb::MemoryRange;

std::set<uintptr_t> pages_one_by_one(const std::vector<MemoryRange>& ranges, uintptr_t page) {
  std::set<uintptr_t> pages;
  for (const MemoryRange& range : ranges) {
    for (uintptr_t byte = range.begin; byte < range.end; ++byte) pages.insert(byte / page);
  }
  return pages;
}

void ranges_become_whole_pages() {
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    const uintptr_t page = uintptr_t{1} << (random() % 6);
    std::vector<MemoryRange> ranges(random() % 12);
    for (MemoryRange& range : ranges) {
      range.begin = 1000 + random() % 400;
      range.end = range.begin + random() % 40;
    }
    const std::vector<MemoryRange> found = jcb::whole_pages(ranges, page);
    JCB_CHECK(pages_one_by_one(found, page) == pages_one_by_one(ranges, page), "round %d", round);
    for (size_t i = 0; i < found.size(); ++i) {
      JCB_CHECK(found[i].begin % page == 0 && found[i].end % page == 0, "round %d: not whole pages", round);
      JCB_CHECK(found[i].begin < found[i].end, "round %d: empty", round);
      if (i > 0) JCB_CHECK(found[i - 1].end < found[i].begin, "round %d: not joined or not ascending", round);
    }
  }
}

bool come_in_time(const std::function<bool()>& condition) {
  for (int tries = 0; tries < 500; ++tries) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

void pages_come_when_asked_for() {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const int64_t pages = 512;
  std::string name = "/var/tmp/jcb-read-ahead-XXXXXX";
  const int file = mkstemp(name.data());
  JCB_CHECK(file >= 0, "no temporary file");
  if (file < 0) return;
  unlink(name.c_str());
  const std::string bytes(pages * page, 'x');
  JCB_CHECK(write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()), "not written");
  fsync(file);
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  void* map = mmap(nullptr, bytes.size(), PROT_READ, MAP_SHARED, file, 0);
  const uintptr_t begin = reinterpret_cast<uintptr_t>(map);
  const auto place = [&](int64_t number) { return begin + number * page; };
  const auto all_there = [&](int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; ++i) {
      if (!jcb::seem_resident(1, [&](int64_t) { return place(i); })) return false;
    }
    return true;
  };
  if (jcb::seem_resident(pages, place)) {
    std::printf("read_ahead: this file system keeps its pages in memory; what is asked for is not tested\n");
  } else {
    const jcb::ThreadPool pool(2);
    std::vector<MemoryRange> ranges;
    for (int64_t i = 400; i < 480; ++i) ranges.push_back({place(i) + 5, place(i) + 6});
    jcb::read_ahead(pool, ranges);
    JCB_CHECK(come_in_time([&] { return all_there(400, 80); }), "pages did not come");
    JCB_CHECK(!jcb::seem_resident(pages, place), "all pages came");
  }
  munmap(map, bytes.size());
  close(file);
}

void memory_that_is_no_file_is_left_alone() {
  const jcb::ThreadPool pool(1);
  std::vector<int> values(100'000, 3);
  const auto address = reinterpret_cast<uintptr_t>(values.data());
  JCB_CHECK(jcb::seem_resident(100, [&](int64_t i) { return address + i * 4000; }), "touched memory seems absent");
  JCB_CHECK(jcb::seem_resident(0, [&](int64_t) { return uintptr_t{0}; }), "nothing seems absent");
  jcb::read_ahead(pool, {{address, address + 400'000}, {0, 0}});
  for (const int value : values) JCB_CHECK(value == 3, "memory changed");
}

}  // namespace

int main() {
  ranges_become_whole_pages();
  pages_come_when_asked_for();
  memory_that_is_no_file_is_left_alone();
  return jcb::tests::report("read_ahead");
}
