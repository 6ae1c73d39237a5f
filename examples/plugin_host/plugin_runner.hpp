#pragma once

#include <map>
#include <string>

#include "check_protocol.hpp"
#include "shared_object.hpp"

namespace plugin_host {

/// The worker's side: loads plugins, and runs them in this process, come what may. A plugin stays
/// loaded as long as the worker lives.
class PluginRunner final : public tether::Handler<CheckProtocol> {
    std::vector<Finding> handle(const Check& request, tether::CallContext<Check>& call) override;

    SharedObject& load(const std::string& path);

    std::map<std::string, SharedObject> plugins_;
};

}  // namespace plugin_host
