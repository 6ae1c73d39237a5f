// A program that forgot serve_if_worker and has its worker in a global, used in or before main.

#include "host_support.hpp"

using namespace tether_host;

namespace {

AskWorker worker;

struct Early {
    Early() {
        announce("process " + std::to_string(::getpid()));
        if (variable("TETHER_TEST_EARLY").empty()) return;
        announce_outcome("early", [] { return worker.call(Ask{"echo", "x"}); });
    }
} early;

}  // namespace

int main() {
    announce_outcome("answer", [] { return worker.call(Ask{"echo", "x"}); });
    return 0;
}
