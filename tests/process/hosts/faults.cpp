// The whole life of a worker, once, told line by line on stdout, while the interposer makes a
// system call fail somewhere; then a second worker, for which nothing fails any more.

#include <tether/tether.hpp>

#include <asio/use_future.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

struct Ask {
    static constexpr std::string_view name = "ask";
    using Response = std::string;
    std::string text{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Ask, text)

struct AskProtocol {
    static constexpr std::string_view name = "tether.test.faults";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ask>;
};

using AskWorker = tether::Worker<AskProtocol>;

class Echo final : public tether::Handler<AskProtocol> {
public:
    std::string handle(const Ask& ask, tether::CallContext<Ask>& call) override {
        if (ask.text.empty()) call.log(tether::Severity::info, "asked");
        return ask.text;
    }
};

// --- Telling

void say(std::string line) {
    std::replace(line.begin(), line.end(), '\n', ';');
    static std::mutex mutex;
    const std::scoped_lock lock{mutex};
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
}

// "step ok", or "step error <what it is> | <system error> | <text>". True: ok.
template <class Act>
bool tell(const std::string& step, Act act) {
    try {
        act();
        say(step + " ok");
        return true;
    } catch (const tether::CallError& error) {
        const auto is_start = error.code() == tether::errc::start_failed;
        say(step + " error " + (is_start ? "start_failed" : "other") + " | " +
            error.code().message() + " | " + error.what());
    } catch (const std::system_error& error) {
        say(step + " system_error | " + error.code().message() + " | " + error.what());
    } catch (const std::exception& error) {
        say(step + " exception | " + error.what());
    }
    return false;
}

// The targets of all descriptors but those of this list.
std::vector<std::string> descriptors() {
    std::vector<std::string> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd", error}) {
        auto target = std::filesystem::read_symlink(entry.path(), error).string();
        if (error || target.find("/fd") != std::string::npos) continue;
        // Whether its file has a name is no matter of ours.
        if (const auto gone = target.find(" (deleted)"); gone != target.npos) target.resize(gone);
        const auto bracket = target.find(":[");
        if (target.rfind("anon_inode", 0) != 0 && bracket != std::string::npos) {
            target.resize(bracket);
        }
        found.push_back(target);
    }
    std::sort(found.begin(), found.end());
    return found;
}

std::string children() {
    std::string found;
    std::error_code error;
    for (const auto& task : std::filesystem::directory_iterator{"/proc/self/task", error}) {
        std::ifstream in{task.path() / "children"};
        found.append(std::istreambuf_iterator<char>{in}, {});
    }
    return found;
}

// What was opened since. The background thread may still be busy with the end of the last worker.
std::vector<std::string> opened_since(const std::vector<std::string>& before) {
    const auto until = std::chrono::steady_clock::now() + 2s;
    for (;;) {
        const auto now = descriptors();
        std::vector<std::string> made;
        std::set_difference(now.begin(), now.end(), before.begin(), before.end(),
                            std::back_inserter(made));
        const bool settled = std::all_of(made.begin(), made.end(), [](const auto& target) {
            return target.starts_with("anon_inode:") && target.find("pidfd") == std::string::npos;
        });
        if (settled || std::chrono::steady_clock::now() > until) return made;
        std::this_thread::sleep_for(1ms);
    }
}

// --- The scenario

// Long answers and requests do not fit into one system call.
constexpr std::size_t large = 100'000;

void ask(AskWorker& worker, std::size_t size) {
    const std::string text(size, 'x');
    if (worker.call(Ask{text}) != text) throw std::runtime_error("another call's answer");
}

void ask_at_once(AskWorker& worker, const std::string& step) {
    std::vector<std::thread> callers;
    for (int i = 0; i < 16; ++i) {
        callers.emplace_back([&worker, step, i] {
            tell(step + std::to_string(i), [&] { ask(worker, i == 0 ? large : 10); });
        });
    }
    for (auto& caller : callers) caller.join();
}

void ask_async(AskWorker& worker, const std::string& step) {
    std::vector<std::future<std::string>> answers;
    for (const auto size : {std::size_t{10}, large, std::size_t{10}}) {
        answers.push_back(worker.async_call(Ask{std::string(size, 'x')}, asio::use_future));
    }
    for (auto& answer : answers) tell(step, [&] { static_cast<void>(answer.get()); });
}

// What failed may have been the very thing that fails; twice in a row it must not.
void ask_until_good(AskWorker& worker, const std::string& step) {
    if (!tell(step, [&] { ask(worker, 0); })) tell(step + "_again", [&] { ask(worker, 0); });
}

tether::WorkerOptions options(const char* transport) {
    tether::WorkerOptions options;
    options.name = "faulty";
    options.start_timeout = 2s;
    options.call_timeout = 3s;
    options.stop = {.drain = 300ms, .terminate = 200ms};
    options.restart.budget = 100;
    options.restart.initial_pause = 1ms;
    options.restart.max_pause = 2ms;
    for (const auto one : {tether::Transport::unix_abstract, tether::Transport::unix_path,
                           tether::Transport::tcp, tether::Transport::socket_pair}) {
        if (to_string(one) == transport) options.transport = one;
    }
    return options;
}

void live(const char* transport) {
    AskWorker worker{options(transport)};
    // Nobody waits for the first start, or all do.
    ask_at_once(worker, "first");
    ask_async(worker, "async");
    ask_until_good(worker, "call");
    tell("restart", [&] { worker.restart(); });
    ask_at_once(worker, "second");
    ask_until_good(worker, "restarted");
    tell("stop", [&] { worker.stop(); });
    tell("stopped", [&] { ask(worker, 10); });
}

void live_again(const char* transport) {
    AskWorker worker{options(transport)};
    ask_until_good(worker, "next");
}

}  // namespace

int main(int argc, char** argv) {
    if (auto code = tether::serve_if_worker<Echo>(argc, argv)) return *code;
    const char* transport = argc > 1 ? argv[1] : "automatic";
    const auto before = descriptors();
    tell("life", [&] { live(transport); });
    tell("new_life", [&] { live_again(transport); });
    for (const auto& target : opened_since(before)) say("open " + target);
    say("children " + children());
    say("done");
    return 0;
}
