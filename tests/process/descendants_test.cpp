// What a worker has started, in whatever session, ends with it, whichever way the worker ends; or
// is left alone, if the parent wants that.

#include <tether/detail/os/posix/process_tree.hpp>

#include <asio/use_future.hpp>

#include <string>
#include <vector>

#include "process/support/worker_under_test.hpp"

namespace tether_test::descendants_test {
namespace {

// In a session of their own: a child, one whose parent ends, one below another, one that forks on.
const std::vector<std::string> daemons{
    "exec setsid sleep 60",
    "(setsid sleep 61 &) ; exit 0",
    "exec setsid sh -c 'setsid sleep 62 & exec sleep 63'",
    "exec setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done'",
};

bool runs(const ProcessMark& mark, std::string_view command) {
    for (const auto pid : mark.processes()) {
        const auto line = read_file("/proc/" + std::to_string(pid) + "/cmdline");
        if (line.find(command) != std::string::npos) return true;
    }
    return false;
}

// It runs already, and no longer the program that has put it into its session.
bool sleeps(const ProcessMark& mark, const std::string& seconds) {
    for (const auto pid : mark.processes()) {
        const auto line = read_file("/proc/" + std::to_string(pid) + "/cmdline");
        if (line == std::string{"sleep\0", 6} + seconds + '\0') return true;
    }
    return false;
}

std::string each_end() {
    return GENERATE("exit", "quick_exit", "_exit", "abort", "uncaught", "other_thread", "exec",
                    "sigkill", "sigsegv");
}

TEST_CASE("descendants end with a worker that ends by itself", "[process][descendants][F102]") {
    if (!tether::detail::finds_descendants) return;
    const auto end = each_end();
    CAPTURE(end);
    const Census census;
    const ProcessMark mark;
    auto options = options_for();
    mark.put_into(options);
    TestWorker worker{options};
    for (const auto& command : daemons) worker.call(Start{command});
    worker.call(Start{"sleep 64"});
    REQUIRE(eventually([&] {
        return runs(mark, "60") && runs(mark, "61") && runs(mark, "62") && runs(mark, "63") &&
               runs(mark, "64") && runs(mark, "trap");
    }));

    CHECK_THROWS_AS(worker.call(Meddle{"end_" + end}), CallError);

    CHECK(mark.all_gone());
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("descendants end with a worker that is killed after it has ended by itself",
          "[process][descendants][F102]") {
    if (!tether::detail::finds_descendants) return;
    const Census census;
    const ProcessMark mark;
    auto options = options_for();
    mark.put_into(options);
    TestWorker worker{options};
    worker.call(Start{daemons[1]});
    REQUIRE(eventually([&] { return runs(mark, "61"); }));
    {
        const BackgroundThreadHeld held{worker};  // it would notice the end first
        ::kill(static_cast<::pid_t>(worker.pid()), SIGKILL);
        REQUIRE(eventually([&] { return process_state(worker.pid()) == 'Z'; }));
        worker.kill();
    }
    CHECK(mark.all_gone());
}

TEST_CASE("descendants of one worker end, those of its neighbours do not",
          "[process][descendants][F102]") {
    if (!tether::detail::finds_descendants) return;
    const Census census;
    const ProcessMark mark;
    const ProcessMark mark_of_neighbour;
    auto options = options_for();
    mark.put_into(options);
    TestWorker worker{options};
    mark_of_neighbour.put_into(options);
    TestWorker neighbour{options};
    worker.call(Start{daemons[1]});
    neighbour.call(Start{daemons[1]});
    REQUIRE(eventually([&] { return runs(mark, "61") && runs(mark_of_neighbour, "61"); }));

    CHECK_THROWS_AS(worker.call(Meddle{"end_abort"}), CallError);

    CHECK(mark.all_gone());
    CHECK(runs(mark_of_neighbour, "61"));
}

TEST_CASE("a descendant without environment ends, if it is in the worker's session",
          "[process][descendants][F102]") {
    if (!tether::detail::finds_descendants) return;
    const Census census;
    TestWorker worker{options_for()};
    // A group of its own, where a signal to the worker's group does not reach it.
    const auto pid = worker.call(Start{"set -m; env -i sleep 60 & echo; wait"});
    REQUIRE(process_state(pid) != '\0');
    const auto child = [&] {
        return read_file("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) +
                         "/children");
    };
    REQUIRE(eventually([&] { return !child().empty(); }));
    const auto sleeper = std::stoll(child());

    CHECK_THROWS_AS(worker.call(Meddle{"end_abort"}), CallError);

    CHECK(eventually([&] { return !is_running(sleeper) && !is_running(pid); }, soon));
}

TEST_CASE("descendants in a session of their own can be spared", "[process][descendants][F102]") {
    if (!tether::detail::finds_descendants) return;
    const std::string end =
        GENERATE("stop", "kill", "destroy", "stuck", "exit", "abort", "sigkill", "sigterm");
    CAPTURE(end);
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    const ProcessMark mark;
    auto options = options_for();
    options.descendants = tether::Descendants::spare_sessions;
    options.stuck.grace = 50ms;
    options.stop = {.drain = 100ms, .terminate = 100ms};
    mark.put_into(options);
    {
        TestWorker worker{options};
        worker.call(Start{daemons[0]});
        worker.call(Start{daemons[1]});
        worker.call(Start{"sleep 64"});
        worker.call(Start{"sh -c 'sleep 65' & sleep 66"});
        REQUIRE(eventually([&] {
            return sleeps(mark, "60") && sleeps(mark, "61") && runs(mark, "64") &&
                   runs(mark, "65") && runs(mark, "66");
        }));
        if (end == "stop") CHECK(how(worker.stop()) == exited_well);
        if (end == "kill") worker.kill();
        if (end == "sigterm") ::kill(static_cast<::pid_t>(worker.pid()), SIGTERM);
        if (end == "stuck") {
            auto stuck = worker.async_call(SpinForever{gate.path(), true},
                                           {.timeout = expires_in_handler}, asio::use_future);
            REQUIRE(gate.hear_entered());
            CHECK_THROWS_AS(stuck.get(), CallError);
            CHECK(worker.call(Add{1, 2}) == 3);
        }
        if (end == "exit" || end == "abort" || end == "sigkill") {
            CHECK_THROWS_AS(worker.call(Meddle{"end_" + end}), CallError);
        }
    }
    CHECK(eventually([&] { return mark.processes().size() == 2; }, soon));
    CHECK(runs(mark, "60"));
    CHECK(runs(mark, "61"));
}

}  // namespace
}  // namespace tether_test::descendants_test
