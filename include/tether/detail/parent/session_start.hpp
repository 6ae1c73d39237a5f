// Why: a session exists once its process does; what fails before, or between the two, must leave
// neither behind. Members of Session.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/parent/launch.hpp>
#include <tether/detail/parent/session.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline std::shared_ptr<Session> Session::start(const WorkerOptions& options,
                                               const ProtocolId& protocol, std::uint64_t generation,
                                               const Surroundings& surroundings,
                                               std::shared_ptr<Hub> hub, OnSessionEnd on_end) {
    auto& runtime = Runtime::instance();
    if (runtime.exiting()) throw exiting(worker_name(options));
    auto output = std::make_unique<OutputPump>(options.output);
    auto alarm = runtime.alarm();
    auto worker = launch_or_throw(options, protocol, generation, surroundings, *output,
                                  alarm != nullptr ? alarm->fd() : -1);
    std::shared_ptr<Session> session;
    try {
        output->set_identity(worker_name(options), worker.process.pid());
        session.reset(new Session(options, protocol, generation, std::move(hub), std::move(on_end),
                                  worker, std::move(output), runtime));
        session->alarm_ = std::move(alarm);
        if (!runtime.add(session)) throw session->refused();
        session->watch_everything();
    } catch (...) {  // no session is left to end it
        if (session != nullptr) session->abandon();
        worker.control.reset();  // its lifeline
        worker.process.discard();
        throw;
    }
    return session;
}

inline Session::Session(const WorkerOptions& options, const ProtocolId& protocol,
                        std::uint64_t generation, std::shared_ptr<Hub> hub, OnSessionEnd on_end,
                        LaunchedWorker& worker, std::unique_ptr<OutputPump> output,
                        Runtime& runtime)
    : runtime_(runtime),
      name_(worker_name(options)),
      generation_(generation),
      stop_policy_(options.stop),
      start_timeout_(options.start_timeout),
      limits_(options.limits),
      pid_(worker.process.pid()),
      observer_(worker.observer),
      hub_(std::move(hub)),
      ledger_memory_(std::move(worker.ledger)),
      ledger_(ledger_memory_.data(), options.program.empty()),
      control_(std::move(worker.control)),
      connection_(*this, std::move(worker.connection), options.max_message_bytes,
                  {name_, pid_, protocol, worker.worker_secret}, options.spin, &runtime.wake_ups()),
      on_end_(std::move(on_end)),
      output_(std::move(output)),
      concurrency_(options.concurrency),
      health_(options.stuck, options.idle_timeout) {
    process_.take(std::move(worker.process));  // last: what throws leaves it to the caller
}

// Where the start has failed with the process there.
inline void Session::abandon() {
    close_watches();
    runtime_.remove(shared_from_this());
    control_.close();
    process_.discard();
}

inline CallError Session::exiting(const std::string& name) {
    return {errc::stopped,
            "worker \"" + name + "\": the program is exiting, nothing is started any more"};
}

inline CallError Session::refused() const {
    if (runtime_.exiting()) return exiting(name_);
    return {errc::stopped, "worker \"" + name_ + "\": " + descriptors_closed};
}

inline LaunchedWorker Session::launch_or_throw(const WorkerOptions& options,
                                               const ProtocolId& protocol, std::uint64_t generation,
                                               const Surroundings& surroundings, OutputPump& output,
                                               int alarm) {
    try {
        return launch(options, protocol, generation, surroundings, output, alarm);
    } catch (const std::system_error& error) {
        throw CallError(
            errc::start_failed,
            "worker \"" + worker_name(options) + "\" could not be started: " + error.what(),
            nullptr, error.code());
    }
}

inline void Session::watch_everything() {
    const auto lock = acquire(mutex_);
    watches_ = std::make_unique<Watches>(runtime_.context());
    watch_end(lock);
    watch_control(lock);
    for (std::size_t i = 0; i < 2; ++i) watch_output(lock, i);
    at(lock, watches_->start, deadline_after(started_, start_timeout_),
       [](Session& session) { session.on_start_timeout(); });
    health_.started(Clock::now());
    arm_look(lock);
    if (!watch_error_) return;
    throw CallError(errc::start_failed,
                    "worker \"" + name_ +
                        "\" could not be started: watch its descriptors: " + watch_error_.message(),
                    nullptr, watch_error_);
}

}  // namespace detail
TETHER_NAMESPACE_END
