// A plugin that owns workers and takes them with it when it is unloaded.

#include "../host_support.hpp"

using namespace tether_host;

namespace {

AskWorker* worker = nullptr;

tether::WorkerOptions options_for(const char* program) {
    tether::WorkerOptions options;
    options.program = program;
    return options;
}

AskWorker& static_worker(const char* program) {
    static AskWorker instance{options_for(program)};
    return instance;
}

}  // namespace

extern "C" {

void plugin_start(const char* program, const char* storage) {
    const bool leaked = std::string_view{storage} == "leaked";
    worker = leaked ? new AskWorker{options_for(program)} : &static_worker(program);
}

void plugin_call(const char* name, const char* what, const char* argument) {
    announce_outcome(name, [&] { return worker->call(Ask{what, argument}); });
}

void plugin_async(const char* what) {
    worker->async_call(Ask{what, {}}, {.timeout = tether::no_timeout},
                       [](std::exception_ptr, const std::string&) { announce("completed"); });
}
}
