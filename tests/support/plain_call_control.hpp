#pragma once

// In the place of a worker: what calls that only answer do not need.

#include <tether/detail/protocol/call_control.hpp>

namespace tether_test {

class PlainCallControl : public tether::detail::CallControl {
public:
    void progress(const tether::detail::OutgoingValue&) override {}
    void send_item(const tether::detail::OutgoingValue&) override {}
    bool next_item(const tether::detail::IncomingValue&) override { return false; }
    void ask(const tether::detail::SideType&, const void*, tether::Duration, void*) override {}
    void notify(std::uint16_t, const tether::detail::OutgoingValue&) override {}

protected:
    ~PlainCallControl() = default;
};

}  // namespace tether_test
