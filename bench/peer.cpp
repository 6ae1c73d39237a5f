// Tether as one more peer of a harness that measures what users would take instead: built when
// TETHER_BENCH_PEERS names the folder with its `common.hpp`, which calls the class below.

#include <tether/tether.hpp>

#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "common.hpp"
#include "messages.hpp"

namespace {

using namespace std::chrono_literals;

using bench::Echo;

struct Compiled {
    bool ok = false;
    std::vector<std::string> diagnostics{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Compiled, ok, diagnostics)

struct Compile {
    static constexpr std::string_view name = "compile";
    using Response = Compiled;
    std::string source{};
    std::vector<std::string> flags{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Compile, source, flags)

struct PeerProtocol {
    static constexpr std::string_view name = "tether.bench.peer";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Echo, Compile>;
};

class Echoing final : public tether::Handler<PeerProtocol> {
    tether::Bytes handle(const Echo& request, tether::CallContext<Echo>&) override {
        if (pb::is_busy_request(request.bytes.view())) pb::burn(30);
        return request.bytes;
    }
    Compiled handle(const Compile& request, tether::CallContext<Compile>&) override {
        Compiled result{!request.source.empty() && request.flags.size() == 8, {}};
        for (int i = 0; i < 4; ++i) result.diagnostics.push_back(pb::diag80(i));
        return result;
    }
};

Echo echo_of(std::string_view text) {
    Echo request{tether::Bytes(text.size())};
    std::memcpy(request.bytes.data(), text.data(), text.size());
    return request;
}

struct Peer {
    explicit Peer(pb::Mode) : worker(std::make_unique<tether::Worker<PeerProtocol>>(options())) {
        worker->call(echo_of("ready?"));
        pid = static_cast<::pid_t>(worker->pid());
    }

    void echo(std::string_view text) {
        const auto answer = worker->call(echo_of(text));
        pb::check(answer.view() == text, "a wrong echo");
    }

    void typed() {
        const auto answer = worker->call(Compile{"src/a.cpp", pb::flags8()});
        pb::check(answer.ok && answer.diagnostics.size() == 4, "a wrong answer");
    }

    /// Calls for `seconds` with `depth` under way; how many were answered.
    std::uint64_t pipeline(unsigned depth, double seconds) {
        const auto request = echo_of(pb::payload(64));
        const auto end = pb::now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
        std::atomic<std::uint64_t> answered{0};
        std::mutex mutex;
        std::condition_variable changed;
        unsigned under_way = depth;
        std::function<void()> call = [&] {
            worker->async_call(request, [&](const std::exception_ptr& error, tether::Bytes) {
                pb::check(!error, "a failed call");
                ++answered;
                if (pb::now_ns() < end) return call();
                const std::scoped_lock lock{mutex};
                if (--under_way == 0) changed.notify_one();
            });
        };
        for (unsigned i = 0; i < depth; ++i) call();
        std::unique_lock lock{mutex};
        changed.wait(lock, [&] { return under_way == 0; });
        return answered;
    }

    void send_busy() {
        worker->async_call(echo_of(pb::busy_request()), [](std::exception_ptr, tether::Bytes) {});
    }

    void close() { worker.reset(); }

    static tether::WorkerOptions options() {
        tether::WorkerOptions result;
        result.orphan_grace = 0s;
        if (std::getenv("TETHER_BENCH_SPIN") != nullptr) result.spin = 30us;
        return result;
    }

    ::pid_t pid = -1;
    std::unique_ptr<tether::Worker<PeerProtocol>> worker;
};

}  // namespace

int main(int argc, char** argv) {
    if (const auto code = tether::serve_if_worker<Echoing>(argc, argv)) return *code;
    return pb::drive<Peer>(argc, argv);
}
