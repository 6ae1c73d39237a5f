// Two translation units that both use everything link, and share one runtime.
#include "shared.hpp"

int main(int argc, char** argv) {
    if (auto exit_code = tether::serve_if_worker<odr::Shouter>(argc, argv)) return *exit_code;

    tether::Worker<odr::ShoutProtocol> worker;
    const auto here = worker.call(odr::Shout{"hello"});
    const auto elsewhere = odr::shout_from_elsewhere("hello");
    return here == "hello!" && elsewhere == here ? 0 : 1;
}
