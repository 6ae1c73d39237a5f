#include <tether/detail/protocol/observed_run.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"
#include "support/plain_call_control.hpp"

namespace observed_run_test {

namespace {

using namespace tether::detail;
using nlohmann::json;

class Call final : public tether_test::PlainCallControl {
public:
    std::uint64_t id() const noexcept override { return 5; }
    bool stop_requested() const noexcept override { return false; }
    std::stop_token stop_token() override { return {}; }
    std::optional<TimePoint> deadline() const noexcept override { return std::nullopt; }
    void log(tether::Severity, std::string_view) override {}
};

// In the place of a worker's own, while it lives.
class Listener final : public Observer {
public:
    Listener() : Observer(true, false) { own_observer.store(this); }
    ~Listener() { own_observer.store(nullptr); }
    void trace(Events events) const override {
        for (const auto& event : events) {
            if (broken) throw std::runtime_error("no memory");
            heard.push_back(json::parse(event.text(1, 1)));
        }
    }
    void log(const std::string&) const override {}

    bool broken = false;
    mutable std::vector<json> heard{};
};

std::string told_by(const Listener& listener) {
    std::string text;
    for (const auto& event : listener.heard) {
        text += event["ph"].get<std::string>() + " " + event["name"].get<std::string>() + "; ";
    }
    return text;
}

}  // namespace

TEST_CASE("a run is told with the steps that it has reached") {
    const Listener listener;
    Call call;
    SECTION("all") {
        {
            const ObservedRun run{call, "echo"};
            run.has(RunOnThisThread::decoded);
            run.has(RunOnThisThread::handled);
            run.has(RunOnThisThread::encoded);
            CHECK(told_by(listener) == "B run echo; ");  // the handler may end the process
        }
        CHECK(told_by(listener) == "B run echo; X decode echo; X encode echo; E run echo; ");
        CHECK(listener.heard[0]["args"]["call"] == 5);
    }
    SECTION("a handler that throws") {
        {
            const ObservedRun run{call, "echo"};
            run.has(RunOnThisThread::decoded);
        }
        CHECK(told_by(listener) == "B run echo; X decode echo; E run echo; ");
    }
    SECTION("a request that cannot be decoded, after one that could") {
        { const ObservedRun run{call, "echo"}; }
        CHECK(told_by(listener) == "B run echo; E run echo; ");
    }
    SECTION("progress") {
        observe_progress(call);
        CHECK(told_by(listener) == "i progress; ");
    }
}

TEST_CASE("an observer that cannot be told something changes nothing") {
    Listener listener;
    listener.broken = true;
    Call call;
    {
        const ObservedRun run{call, "echo"};
        run.has(RunOnThisThread::decoded);
    }
    listener.broken = false;
    { const ObservedRun run{call, "next"}; }
    CHECK(told_by(listener) == "B run next; E run next; ");
}

}  // namespace observed_run_test
