// The worker of chaos_test.cpp. Its argument is the path of the ledger. It is not quick to serve,
// so that strangers find it listening, and now and then it ends before it serves.

#include <cstdlib>
#include <new>
#include <optional>

#include <spawn.h>
#include <sys/socket.h>

#include "host_support.hpp"
#include "process/chaos/protocol.hpp"
#include "process/support/connection_of_worker.hpp"

namespace {

using namespace tether_test::chaos;
using namespace std::chrono_literals;
using tether_host::pause_for;

std::optional<Ledger> ledger;

/// The same for all threads of this process, and different in the next.
bool one_in(unsigned n) { return !ledger->calm() && static_cast<unsigned>(::getpid()) % n == 0; }

// --- The connection, behind Tether's back

void send_raw(const std::string& bytes) {
    const int fd = tether_test::find_connection_of_worker();
    const auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    // Another request has closed it: an answer that the ledger keeps would be a good one.
    if (sent < 0) std::_Exit(0);
}

/// The header of a response without blobs or payload, to a call that was never made.
std::string stray_answer() {
    std::string bytes(16 + 24, '\0');
    bytes[0] = 24;                        // size of the body
    bytes[4] = 4;                         // response
    bytes[13] = static_cast<char>(0x7f);  // the number, somewhere above 2^40
    return bytes;
}

[[noreturn]] void end_by(int signal) {
    ::signal(signal, SIG_DFL);
    ::raise(signal);
    std::_Exit(1);
}

void start_sleeper() {
    char program[] = "sleep";
    char time[] = "60";
    char* arguments[] = {program, time, nullptr};
    ::pid_t pid = 0;
    static_cast<void>(::posix_spawnp(&pid, program, nullptr, nullptr, arguments, environ));
}

void break_by(const std::string& way, Token token) {
    if (way == "error") throw tether::HandlerError("chaos", std::to_string(token));
    if (way == "exception") throw std::runtime_error(std::to_string(token));
    if (way == "bad_alloc") throw std::bad_alloc{};
    if (way == "exit") std::_Exit(static_cast<int>(token % 100));
    if (way == "abort") end_by(SIGABRT);
    if (way == "segfault") end_by(SIGSEGV);
    if (way == "garbage") send_raw(std::string(64, '\xff'));
    if (way == "stray") send_raw(stray_answer());
    if (way == "close") ::shutdown(tether_test::find_connection_of_worker(), SHUT_RDWR);
    if (way == "half") {
        send_raw(stray_answer().substr(0, 20));
        std::_Exit(0);
    }
}

class Chaotic final : public tether::Handler<ChaosProtocol> {
public:
    Chaotic() {
        if (one_in(37)) throw std::runtime_error("not in the mood");
    }

    Echoed handle(const Once& request, tether::CallContext<Once>&) override {
        return echo(request);
    }
    Echoed handle(const Again& request, tether::CallContext<Again>&) override {
        return echo(request);
    }

    Token handle(const Do& request, tether::CallContext<Do>& call) override {
        ledger->note_run(request.token);
        if (request.milliseconds != 0) {
            pause_as_told(request, call);
        } else if (request.what == "spawn") {
            start_sleeper();
        } else {
            break_by(request.what, request.token);
        }
        return request.token;
    }

    void handle(const Say& request, tether::CallContext<Say>& call) override {
        ledger->note_run(request.token);
        for (std::int64_t i = 0; i < request.lines; ++i) {
            call.log(tether::Severity::info, "said for " + std::to_string(request.token));
            std::printf("a line %d of stdout\n", static_cast<int>(i));
        }
    }

private:
    static void pause_as_told(const Do& request, tether::CallContext<Do>& call) {
        const std::chrono::milliseconds time{request.milliseconds};
        if (request.what == "ignore") return pause_for(time);
        if (request.what == "token") {
            std::mutex mutex;
            std::condition_variable_any never;
            std::unique_lock lock{mutex};
            never.wait_for(lock, call.stop_token(), time, [] { return false; });
            return;
        }
        const auto end = std::chrono::steady_clock::now() + time;
        while (!call.stop_requested() && std::chrono::steady_clock::now() < end) pause_for(1ms);
    }

    template <class Request>
    static Echoed echo(const Request& request) {
        ledger->note_run(request.token);
        if (!is_pattern(request.blob, request.token, request.blob.size())) {
            throw tether::HandlerError("damaged", "the request is not what was sent");
        }
        if (request.answer_size == request.blob.size()) return {request.token, request.blob};
        return {request.token, pattern(request.token, request.answer_size)};
    }
};

}  // namespace

int main(int argc, char** argv) {
    tether_host::forbid_core_files();
    if (argc != 2) return 1;
    ledger.emplace(argv[1]);
    if (one_in(17)) std::_Exit(3);
    if (one_in(2)) pause_for(std::chrono::milliseconds{::getpid() / 2 % 25});
    if (const auto exit_code = tether::serve_if_worker<Chaotic>(argc, argv)) return *exit_code;
    return 2;
}
