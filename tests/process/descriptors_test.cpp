// Descriptors: how many there are, and what happens when other code closes them.

#include <chrono>
#include <iterator>
#include <list>
#include <mutex>
#include <string>

#include <sys/resource.h>

#include "process/support/worker_under_test.hpp"

namespace tether_test::descriptors {

namespace {

class SoftLimit {
public:
    explicit SoftLimit(::rlim_t limit) {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        const ::rlimit changed{limit, before_.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &changed);
    }
    SoftLimit(const SoftLimit&) = delete;
    SoftLimit& operator=(const SoftLimit&) = delete;
    ~SoftLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    ::rlimit before_{};
};

std::ptrdiff_t count_descriptors() {
    return std::distance(std::filesystem::directory_iterator{"/proc/self/fd"}, {});
}

}  // namespace

TEST_CASE("a worker takes at most five descriptors of its host", "[process][F108]") {
    const Census census;
    const SoftLimit limit{256};
    const auto before = count_descriptors();
    constexpr std::ptrdiff_t workers = 34;
    std::list<TestWorker> all;
    for (int i = 0; i < workers; ++i) all.emplace_back(options_for());
    for (auto& worker : all) worker.call(Nothing{});
    CHECK(count_descriptors() - before <= 5 * workers + 4);  // and a few for all callers
    // A deadline so near that each caller polls.
    for (auto& worker : all) {
        try {
            worker.call(Add{1, 2}, {.timeout = 90ms});
        } catch (const CallError& error) {
            CHECK(error.code() == errc::timeout);
        }
    }
    CHECK(count_descriptors() - before <= 5 * workers + 4);
}

TEST_CASE("a caller that polls is woken without a descriptor of its own", "[process][F108]") {
    if (instrumented) return;  // sanitizers need descriptors, too
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for()};
    worker.call(Nothing{});
    std::stop_source stop;
    std::jthread other;
    const SoftLimit none{3};
    CHECK(worker.call(Add{1, 2}, {.timeout = 90ms * slowness}) == 3);
    const auto error = error_of([&] {
        other = std::jthread{[&] {
            static_cast<void>(gate.hear_entered());
            stop.request_stop();
        }};
        worker.call(Await{gate.path(), true}, {.stop_token = stop.get_token()});
    });
    CHECK(error.code() == errc::cancelled);
    gate.open();
}

TEST_CASE("what a worker logs goes to no file of its handler's", "[process][F99]") {
    const Census census;
    const TemporaryFolder folder;
    const auto file = folder / "database";
    const auto what = GENERATE_COPY(as<std::string>{}, "take_stderr", "take_stderr " + file,
                                    "take_all", "take_all " + file);
    INFO(what);
    std::mutex mutex;
    std::string said;
    auto options = options_for();
    options.stop = {.drain = 1s, .terminate = 1s};
    options.output = tether::Output::to([&](const tether::LogRecord& record) {
        const std::scoped_lock lock{mutex};
        said += std::string{record.text} + "\n";
    });
    TestWorker worker{options};
    if (what.starts_with("take_stderr")) {
        CHECK(worker.call(Meddle{what}) == 1);
        worker.stop();
        const std::scoped_lock lock{mutex};
        CHECK_THAT(said, Catch::Contains("taken"));
    } else {
        const Stopwatch watch;
        const auto error = error_of([&] { worker.call(Meddle{what}); });
        CHECK(error.code() == errc::worker_exited);
        CHECK_THAT(error.what(), Catch::Contains("has closed descriptors that are Tether's"));
        CHECK(watch.elapsed() < soon);
        worker.call(Nothing{});  // the next one
    }
    CHECK(read_file(file).empty());
}

}  // namespace tether_test::descriptors
