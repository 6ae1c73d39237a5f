#include <tether/detail/os/posix/memory_events.hpp>

#include "support/catch.hpp"

namespace memory_events_test {

using tether::detail::memory_events_file;

TEST_CASE("where the kernel counts out-of-memory kills", "[F77]") {
    const auto second = memory_events_file("0::/user.slice/build\n");
    CHECK(second.folder + second.path + second.file ==
          "/sys/fs/cgroup/user.slice/build/memory.events");
    const auto root = memory_events_file("0::/\n");
    CHECK(root.folder + root.path + root.file == "/sys/fs/cgroup/memory.events");
    const auto first = memory_events_file("9:name=systemd:/\n4:cpu,memory:/a:b\n0::/\n");
    CHECK(first.folder == "/sys/fs/cgroup/memory");
    CHECK(first.path == "/a:b");
    CHECK(first.file == "/memory.oom_control");
    CHECK(memory_events_file("").file.empty());
    CHECK(memory_events_file("nonsense\n:\n").file.empty());
}

}  // namespace memory_events_test
