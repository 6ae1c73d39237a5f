#include "shared.hpp"

std::string odr::shout_from_elsewhere(const std::string& text) {
    tether::Worker<ShoutProtocol> worker;
    return worker.call(Shout{text});
}
