// Why: a worker's start in one place: everything is prepared before the spawn, so that a failure
// leaves nothing behind, and nothing is waited for after it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/debug_mode.hpp>
#include <tether/detail/base/printable.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/parent/output_pump.hpp>
#include <tether/detail/parent/process_observer.hpp>
#include <tether/detail/transport/worker_mark.hpp>
#include <tether/detail/wire/bootstrap.hpp>
#include <tether/detail/wire/control_record.hpp>
#include <tether/detail/wire/greeting.hpp>
#include <tether/detail/wire/ledger.hpp>
#include <tether/detail/wire/outgoing_message.hpp>
#include <tether/options.hpp>

#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline Secret make_secret() {
    std::random_device random;
    Secret secret;
    for (std::size_t i = 0; i < secret.size(); i += sizeof(std::uint32_t)) {
        store_le(secret.data() + i, static_cast<std::uint32_t>(random()));
    }
    return secret;
}

// The mark by which the worker's descendants are found. Not secret, because the environment is not.
inline std::string make_family_mark() {
    std::random_device random;
    return std::to_string(own_process_number()) + ":" + std::to_string(random()) +
           std::to_string(random());
}

inline std::string worker_name(const WorkerOptions& options) {
    if (!options.name.empty()) return options.name;
    if (!options.program.empty()) return file_name(options.program);
    try {
        return file_name(own_executable().file);
    } catch (const std::system_error&) {
        return "worker";
    }
}

// A worker that was just spawned, as the parent holds it.
struct LaunchedWorker {
    ChildProcess process{};
    Descriptor connection{};
    Descriptor control{};
    SharedMemory ledger{};
    Secret worker_secret{};
    Transport transport{};
    const ProcessObserver* observer = nullptr;
};

inline Bootstrap make_bootstrap(const WorkerOptions& options, const ProtocolId& protocol,
                                std::uint64_t generation, const Endpoint& endpoint,
                                bool reads_lines) {
    Bootstrap bootstrap;
    bootstrap.worker = worker_name(options);
    bootstrap.generation = generation;
    bootstrap.parent_secret = make_secret();
    bootstrap.worker_secret = make_secret();
    bootstrap.protocol = protocol;
    bootstrap.listening = endpoint.listening;
    bootstrap.verify_peer = endpoint.verify_peer;
    bootstrap.mark_severity = reads_lines;
    bootstrap.concurrency = options.concurrency;
    bootstrap.calls_in_work = options.calls_in_work;
    bootstrap.spin_us = to_microseconds(options.spin);
    bootstrap.max_message_bytes = options.max_message_bytes;
    bootstrap.orphan_grace_us = to_microseconds(options.orphan_grace);
    bootstrap.limits = options.limits;
    bootstrap.parent_pid = own_process_number();
    bootstrap.depth = own_depth() + 1;
    bootstrap.spares_sessions = options.descendants == Descendants::spare_sessions;
    return bootstrap;
}

// The bytes must fit into the buffer of a fresh socket.
inline void send_whole(int fd, std::string_view bytes, const char* step) {
    while (!bytes.empty()) {
        const ConstBuffer buffer{bytes.data(), bytes.size()};
        const auto sent = send_some(fd, {&buffer, 1});
        if (sent < 0) throw_last_error(step);
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
}

// What opens the connection: one frame, sent before the child even runs.
inline void send_hello(int fd, const Bootstrap& bootstrap) {
    OutgoingMessage hello;
    Greeting{bootstrap.parent_secret, bootstrap.protocol}.append_to(hello.payload());
    hello.seal();
    hello.open(FrameType::hello, 0, 0);
    send_whole(fd, hello.rest_of_frame(), "send the hello");
}

// A handler with a worker of its own protocol as a member starts processes without end.
inline void check_depth(const WorkerOptions& options) {
    if (own_depth() < most_depth) return;
    throw CallError(
        errc::start_failed,
        "worker \"" + worker_name(options) +
            "\" could not be started: workers within workers are " + std::to_string(own_depth()) +
            " deep here already; does a handler start a worker of its own kind? (" +
            depth_variable + " counts, the limit is " + std::to_string(most_depth) + ")");
}

// What lists of processes show of a worker that is the running executable: its program, and its
// name where that is another.
inline std::string process_title(const WorkerOptions& options, const std::string& program) {
    const auto name = worker_name(options);
    return program + ": worker" + (name == program ? std::string{} : ' ' + printable(name));
}

inline SpawnPlan make_plan(const WorkerOptions& options) {
    SpawnPlan plan;
    if (options.program.empty()) {
        auto own = own_executable();
        plan.program = std::move(own.path);
        plan.arguments = std::move(own.before);
        if (plan.arguments.empty()) {
            plan.arguments.push_back(process_title(options, file_name(own.file)));
        }
    } else {
        plan.program = resolve_program(options.program);
        plan.arguments.push_back(options.program);  // which the program may look at
    }
    plan.arguments.insert(plan.arguments.end(), options.arguments.begin(), options.arguments.end());
    plan.working_directory = options.working_directory;
    return plan;
}

inline void announce_to_debugger(const std::string& worker, std::int64_t pid) {
    StderrSink::instance().say(describe_for_debugger(worker, std::to_string(pid)));
}

// Starts the worker's process. Throws a std::system_error whose text names the step that failed, or
// a CallError. `alarm`: a descriptor that the worker gets a copy of, or -1.
inline LaunchedWorker launch(const WorkerOptions& options, const ProtocolId& protocol,
                             std::uint64_t generation, const Surroundings& surroundings,
                             OutputPump& output, int alarm) {
    check_depth(options);
    auto* const observer = ProcessObserver::make(options, worker_name(options), generation);
    auto plan = make_plan(options);
    auto endpoint = make_endpoint(options.transport);
    auto control = make_socket_pair("socketpair for the control channel");
    const auto outputs = output.open();
    const auto null = open_null_for_reading();
    const auto self = open_own_pidfd();
    const auto ledger = make_shared_memory(sizeof(LedgerPages));

    auto bootstrap = make_bootstrap(options, protocol, generation, endpoint, output.reads_lines());
    bootstrap.has_parent = static_cast<bool>(self);
    bootstrap.has_ledger = static_cast<bool>(ledger);
    bootstrap.has_alarm = alarm != -1;
    const auto record = control_record(ControlType::bootstrap, bootstrap.encode());
    send_whole(control.first.get(), record, "send the bootstrap record");
    send_hello(endpoint.parent.get(), bootstrap);

    auto changes = options.environment;
    changes[worker_variable] = worker_mark(control.second.get());
    changes[depth_variable] = std::to_string(bootstrap.depth);
    Family family{make_family_mark(), bootstrap.spares_sessions};
    changes[Family::variable] = family.mark;
    if (observer != nullptr) observer->add_to(changes);
    plan.environment = changed_environment(changes);
    plan.descriptors = {null.get(), outputs.first.get(), outputs.second.get(), control.second.get(),
                        endpoint.child.get()};
    if (self) plan.descriptors.push_back(self.get());
    if (ledger) plan.descriptors.push_back(ledger.get());
    if (alarm != -1) plan.descriptors.push_back(alarm);
    SurroundingsLent lent{surroundings};
    ChildProcess process{spawn(plan), std::move(family)};
    lent.complete(process.pid(), !options.limits.nice);
    if (is_debugging()) announce_to_debugger(bootstrap.worker, process.pid());
    if (observer != nullptr) {
        observer->spawned(process.pid(), endpoint.transport, plan.arguments);
    }
    return {std::move(process),
            std::move(endpoint.parent),
            std::move(control.first),
            SharedMemory{ledger.get(), sizeof(LedgerPages)},
            bootstrap.worker_secret,
            endpoint.transport,
            observer};
}

}  // namespace detail
TETHER_NAMESPACE_END
