// What large messages leave in memory is given back when it is not used for some seconds.

#include <tether/detail/os/os.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>

#include <unistd.h>

#include "process/support/worker_under_test.hpp"
#include "support/sanitizers.hpp"

namespace tether_test::decay_test {
namespace {

#if !defined(TETHER_TEST_SANITIZED)  // a sanitizer keeps what was freed

std::uint64_t number_in(const std::string& path, const std::string& name) {
    const auto text = read_file(path);
    const auto at = text.find("\n" + name + ":");
    return at == std::string::npos ? 0 : std::stoull(text.substr(at + name.size() + 2));
}

std::uint64_t resident_mib(std::int64_t pid) {
    return number_in("/proc/" + std::to_string(pid) + "/status", "VmRSS") / 1024;
}

/// Of all threads but the one that looks.
std::uint64_t wake_ups(std::int64_t pid) {
    std::uint64_t sum = 0;
    const auto tasks = "/proc/" + std::to_string(pid) + "/task";
    for (const auto& thread : std::filesystem::directory_iterator{tasks}) {
        if (thread.path().filename() == std::to_string(::gettid())) continue;
        sum += number_in(thread.path() / "status", "voluntary_ctxt_switches");
    }
    return sum;
}

TEST_CASE("the memory of a large message is given back when it is not used", "[process][F106]") {
    const Census census;
    auto options = options_for();
    options.concurrency = 2;
    TestWorker worker{options};
    worker.call(Echo{"", tether::Bytes{std::string(100'000, 'x')}});
    const auto own_before = resident_mib(::getpid());
    const auto its_before = resident_mib(worker.pid());
    const auto settled = [&] {
        return resident_mib(::getpid()) < own_before + 32 &&
               resident_mib(worker.pid()) < its_before + 32;
    };
    const auto echo = [&](std::size_t size) {
        const auto answer = worker.call(Echo{"", patterned(size)});
        CHECK(answer.blob.size() == size);
    };
    echo(std::size_t{256} << 20);
    const Stopwatch watch;
    for (int i = 0; i < 3; ++i) echo(std::size_t{3} << 20);
    const bool kept = !settled();  // for the next, which may come soon
    CHECK((kept || watch.elapsed() > 800ms));
    CHECK(eventually(settled, 10s));

    const std::size_t length = std::size_t{128} << 20;
    CHECK(worker.call(Echo{std::string(length, 'x'), {}}).text.size() == length);
    CHECK(eventually(settled, 10s));
    echo(std::size_t{8} << 20);  // what was given back may be used again
    CHECK(worker.generation() == 1);
    if (!tether::detail::open_pidfd(::getpid())) return;  // each side looks for the other's end
    // And then nothing looks any more.
    CHECK(eventually([&] {
        const auto before = wake_ups(::getpid()) + wake_ups(worker.pid());
        std::this_thread::sleep_for(1200ms);
        return wake_ups(::getpid()) + wake_ups(worker.pid()) == before;
    }));
}

TEST_CASE("an alarm for no reason wakes the parent once", "[process][F105]") {
    if (!tether::detail::open_pidfd(::getpid())) return;  // each side looks for the other's end
    const Census census;
    TestWorker worker{options_for({"keep-alarm"})};
    worker.call(Nothing{});
    if (tether::detail::watches_closed_files) CHECK(worker.call(Meddle{"sound_alarm"}) == 1);
    CHECK(eventually([&] {
        const auto before = wake_ups(::getpid());
        std::this_thread::sleep_for(1200ms);  // what repeats itself does so within that
        return wake_ups(::getpid()) == before;
    }));
    CHECK(worker.generation() == 1);
}

#endif

}  // namespace
}  // namespace tether_test::decay_test
