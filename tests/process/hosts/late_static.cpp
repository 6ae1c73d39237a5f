// Uses workers in a destructor that runs after everything of Tether's has ended.

#include <optional>

#include "host_support.hpp"

using namespace tether_host;

namespace {

AskWorker* leaked = nullptr;

// Constructed before the first worker, so destroyed after the exit hook.
class Late {
public:
    Late() = default;
    Late(const Late&) = delete;
    Late& operator=(const Late&) = delete;
    ~Late() {
        if (leaked == nullptr) return;
        announce_outcome("call", [] { return leaked->call(Ask{"echo", "x"}); });
        announce_outcome("again", [] { return leaked->call(Ask{"echo", "x"}); });
        leaked->async_call(Ask{"echo", "x"},
                           [](std::exception_ptr, const std::string&) { announce("completed"); });
        announce_outcome("new", [] {
            AskWorker worker;
            return worker.call(Ask{"echo", "x"});
        });
        announce_outcome("restart", [] {
            leaked->restart();
            return leaked->call(Ask{"echo", "x"});
        });
        announce_outcome("state", [] { return std::string{to_string(leaked->state())}; });
        announce_outcome("kill", [] { return leaked->kill(), "done"; });
        announce_outcome("stop", [] { return leaked->stop(), "done"; });
        announce_outcome("pid", [] { return std::to_string(leaked->pid()); });
        delete leaked;
        announce("late end");
    }
};

Late late;

}  // namespace

int main(int argc, char** argv) {
    forbid_core_files();
    if (auto code = tether::serve_if_worker<Asked>(argc, argv)) return *code;
    const Arguments arguments{argc, argv};
    leaked = new AskWorker;
    announce_outcome("answer", [] { return leaked->call(Ask{"echo", "x"}); });
    return end_by(arguments.text("way"));
}
