// Programs between parent and worker: what they take away, and what is made of it.

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

#include "process/support/worker_under_test.hpp"

namespace tether_test::wrapper {

namespace {

// The misbehaving child behind a shell that first does `what`. Fails at once where it can.
tether::WorkerOptions behind_shell(const std::string& what,
                                   const std::vector<std::string>& arguments = {}) {
    auto options = options_for();
    options.program = "/bin/sh";
    options.arguments = {"-c", what + " \"$0\" \"$@\"", TETHER_MISBEHAVING_CHILD};
    options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
    return options;
}

}  // namespace

TEST_CASE("a worker that lost its channel on the way is an error that says so", "[process][F92]") {
    const Census census;
    const ProcessMark mark;
    const std::string what = GENERATE("exec 3>&-; exec", "exec 3>&- 4>&- 5>&- 6>&-; exec",
                                      "exec 3</dev/null; exec", "exec 3>&-; /usr/bin/env");
    INFO(what);
    auto options = behind_shell(what);
    mark.put_into(options);
    TestWorker worker{options};
    const Stopwatch watch;
    const auto error = error_of([&] { worker.call(Nothing{}); });

    INFO(error.what());
    CHECK(watch.elapsed() < soon);
    CHECK(error.code() == errc::start_failed);
    CHECK_THAT(error.what(), Catch::Contains("descriptors from 3 on"));
    REQUIRE(error.report() != nullptr);
    CHECK(error.report()->status.code() == 1);
    CHECK_THAT(error.report()->stderr_tail, Catch::Contains("but descriptor 3 is ") &&
                                                Catch::Contains("pass_fds") &&
                                                Catch::Contains("sudo -C"));
    CHECK(mark.all_gone());
}

TEST_CASE("a worker that lost its channel does not become a host", "[process][F92]") {
    const Census census;
    TestWorker worker{behind_shell("exec 3>&- 4>&-; exec", {"no-hook-but-use"})};
    const auto error = error_of([&] { worker.call(Nothing{}); });
    INFO(error.what());
    REQUIRE(error.report() != nullptr);
    CHECK(error.report()->status.code() == 9);  // its own use of a worker threw
    CHECK_THAT(error.report()->stderr_tail, Catch::Contains("but descriptor 3 is closed"));
}

// As behind sudo: nothing is left that tells the process what it is.
TEST_CASE("a worker that lost channel and environment is ended at once", "[process][F92]") {
    const Census census;
    const ProcessMark mark;
    auto options =
        behind_shell("exec 3>&- 4>&- 5>&- 6>&-; unset TETHER_WORKER TETHER_DEPTH; exec", {"hang"});
    mark.put_into(options);
    TestWorker worker{options};
    const Stopwatch watch;
    const auto error = error_of([&] { worker.call(Nothing{}); });

    INFO(error.what());
    CHECK(watch.elapsed() < soon);
    CHECK(error.code() == errc::start_failed);
    CHECK_THAT(error.what(), Catch::Contains("TETHER_WORKER"));
    CHECK(mark.all_gone());
}

TEST_CASE("a worker without its connection says which descriptor it lacks", "[process][F92]") {
    const Census census;
    const std::string what = GENERATE("exec 4>&-; exec", "exec 4</dev/null; exec");
    TestWorker worker{behind_shell(what)};
    const auto error = error_of([&] { worker.call(Nothing{}); });
    INFO(error.what());
    CHECK(error.code() == errc::start_failed);
    CHECK_THAT(error.what(), Catch::Contains("descriptor 4"));
}

TEST_CASE("a worker does without what it can do without", "[process][F92]") {
    const Census census;
    const std::string what = GENERATE("exec", "exec /usr/bin/env -i", "exec 5>&-; exec",
                                      "unset TETHER_WORKER; exec", "exec 5</dev/null; exec");
    INFO(what);
    TestWorker worker{behind_shell(what)};
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("workers within workers end at a depth", "[process][F109]") {
    const Census census;
    const ProcessMark mark;
    const bool emptied = GENERATE(false, true);
    std::mutex mutex;
    std::string said;
    auto options = options_for({"nested"});
    if (emptied) options.arguments.emplace_back("emptied");
    options.output = tether::Output::to([&](const tether::LogRecord& record) {
        const std::scoped_lock lock{mutex};
        said += std::string{record.text} + "\n";
    });
    mark.put_into(options);
    {
        TestWorker worker{options};
        CHECK(worker.call(Count{}) == 16);
    }
    const std::scoped_lock lock{mutex};
    CHECK_THAT(said, Catch::Contains("workers within workers are 16 deep"));
    CHECK(mark.all_gone());
}

}  // namespace tether_test::wrapper
