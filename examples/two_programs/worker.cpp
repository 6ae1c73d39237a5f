// The worker's program: nothing but a worker.
#include <tether/serve.hpp>

#include <fstream>
#include <sstream>
#include <string>

#include "count_protocol.hpp"

namespace {

class Counter final : public tether::Handler<CountProtocol> {
    Counts handle(const Count& request, tether::CallContext<Count>& call) override {
        std::ifstream file{request.file};
        if (!file) throw tether::HandlerError("unreadable", "cannot open " + request.file);
        Counts counts;
        for (std::string line; std::getline(file, line); ++counts.lines) {
            if (call.stop_requested()) break;  // no caller waits any more
            std::istringstream words{line};
            for (std::string word; words >> word;) ++counts.words;
        }
        return counts;
    }
};

}  // namespace

int main() { return tether::serve<Counter>(); }
