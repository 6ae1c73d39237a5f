// A worker that is a global: made before main, also in the worker itself, and destroyed after it.

#include "host_support.hpp"

using namespace tether_host;

namespace {

AskWorker worker;

}  // namespace

int main(int argc, char** argv) {
    forbid_core_files();
    if (auto code = tether::serve_if_worker<Asked>(argc, argv)) return *code;
    const Arguments arguments{argc, argv};
    announce("main " + std::to_string(::getpid()));
    if (arguments.number("calls", 1) != 0) {
        announce_outcome("answer", [] { return worker.call(Ask{"echo", "x"}); });
    }
    return end_by(arguments.text("way"));
}
