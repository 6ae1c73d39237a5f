// A program that forgot serve_if_worker: it uses a worker in main, as if it were never one itself.

#include "host_support.hpp"

using namespace tether_host;

int main(int argc, char** argv) {
    announce("main " + std::to_string(::getpid()));
    const Arguments arguments{argc, argv};
    // Never comes to use a worker when it is one.
    if (!variable("TETHER_WORKER").empty()) {
        if (variable("TETHER_TEST_OTHERWISE") == "returns") return 0;
        if (variable("TETHER_TEST_OTHERWISE") == "waits") block_in_read();
    }
    AskWorker worker{worker_options(arguments)};
    for (int i = 0; i < arguments.number("calls", 1); ++i) {
        announce_outcome("answer", [&] { return worker.call(Ask{"echo", "x"}); });
    }
    return 0;
}
