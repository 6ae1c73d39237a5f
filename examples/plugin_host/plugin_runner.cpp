#include "plugin_runner.hpp"

#include "plugins/plugin.h"

namespace plugin_host {

std::vector<Finding> PluginRunner::handle(const Check& request, tether::CallContext<Check>& call) {
    call.log(tether::Severity::info, announcement(request.plugin));
    const auto check = load(request.plugin).find<decltype(plugin_check)>("plugin_check");
    std::vector<Finding> findings;
    const auto report = [](void* context, int line, const char* message) {
        static_cast<std::vector<Finding>*>(context)->push_back({line, message});
    };
    check(request.text.c_str(), report, &findings);
    return findings;
}

SharedObject& PluginRunner::load(const std::string& path) {
    return plugins_.try_emplace(path, path).first->second;
}

}  // namespace plugin_host
