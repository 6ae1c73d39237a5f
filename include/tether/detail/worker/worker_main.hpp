// Why: a worker's life from its first moment in main to its last, in the order in which things must
// happen: claim what was inherited, start the guard, let the parent in, only then run user code.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/remote_cause.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/detail/transport/worker_mark.hpp>
#include <tether/detail/wire/ledger.hpp>
#include <tether/detail/worker/admission.hpp>
#include <tether/detail/worker/debugger.hpp>
#include <tether/detail/worker/guard.hpp>
#include <tether/detail/worker/own_observer.hpp>
#include <tether/detail/worker/service.hpp>
#include <tether/detail/worker/service_coroutines.hpp>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline std::string offered(std::span<const HandlerType> types) {
    std::string text;
    for (const auto& type : types) {
        if (!text.empty()) text += ", ";
        text += "\"" + std::string{type.protocol} + "\" version " + std::to_string(type.version);
    }
    return text;
}

class WorkerMain {
public:
    explicit WorkerMain(std::span<const HandlerType> types) : types_(types) {}

    // The exit code of the process.
    int run() {
        remove_variable(worker_variable);
        ControlReader control_in;
        auto bootstrap = read_bootstrap(worker_fd::control, control_in);
        if (!bootstrap) return 1;
        bootstrap_ = std::move(*bootstrap);
        set_own_depth(bootstrap_.depth);
        name_this_thread(bootstrap_.worker);
        bootstrap_.concurrency = std::max(1U, bootstrap_.concurrency);
        settle_calls_in_work();
        const bool has_parent = bootstrap_.has_parent;
        auto control = take_inherited(worker_fd::control);
        auto connection = take_inherited(worker_fd::connection);
        auto parent = has_parent ? take_inherited(worker_fd::parent) : Descriptor{};
        if (!is_pidfd(parent.get())) parent.reset();  // closed on the way, and the number reused
        int next = worker_fd::parent + (has_parent ? 1 : 0);
        if (bootstrap_.has_ledger) take_ledger(next++);
        auto alarm = bootstrap_.has_alarm ? take_inherited(next) : Descriptor{};
        if (!is_anonymous(alarm.get())) alarm.reset();  // as above
        const auto identity = peer_identity(control.get());
        static_cast<void>(GivenStderr::instance());
        OwnObserver::begin(bootstrap_);

        ForkedCopy::watch();
        adopt_descendants();
        if (bootstrap_.spares_sessions) SparedSessions::spare();
        buffer_stdout_by_lines();
        // Never destroyed: it watches until the process ends.
        guard_ = new Guard(std::move(control), control_in, std::move(parent), std::move(alarm),
                           bootstrap_);
        try {
            guard_->start();
        } catch (const std::system_error& error) {
            const auto text = std::string{"the worker could not start its guard: "} + error.what();
            return refuse(errc::start_failed, text);
        }
        guard_->look_after_memory();
        wait_for_debugger(bootstrap_.worker, guard_->leaving_fd());

        const int exit_code = serve(std::move(connection), identity);
        ForkedCopy::end_here();
        // The parent did not ask for this end: it may have closed all its descriptors.
        if (exit_code == 0 && !guard_->leaving()) guard_->sound_alarm();
        observe_leaving(exit_code, [&] { return guard_->is_orphaned(); });
        std::fflush(stdout);
        if (kill_descendants()) {
            ledger().set_tidy();
        } else if (guard_->is_orphaned()) {  // a parent that lives kills the group itself
            end_with_all_descendants();
        }
        return exit_code;
    }

private:
    // It stays mapped; the descriptor need not stay open.
    void take_ledger(int fd) noexcept {
        const auto inherited = take_inherited(fd);
        if (!is_shared_memory(inherited.get(), sizeof(LedgerPages))) return;
        ledger_memory_ = SharedMemory{inherited.get(), sizeof(LedgerPages)};
    }

    // Without a bootstrap the worker cannot serve, and only stderr can be told why.
    static std::optional<Bootstrap> read_bootstrap(int control, ControlReader& in) {
        for (;;) {
            if (const auto record = in.next()) {
                auto bootstrap = record->type == ControlType::bootstrap
                                     ? Bootstrap::decode(record->content)
                                     : std::nullopt;
                if (!bootstrap) complain("its first record is no bootstrap of this version");
                return bootstrap;
            }
            const MutableBuffer space{in.space(), in.space_size()};
            const auto size = in.broken() ? -1 : receive_some(control, {&space, 1}, Blocking::yes);
            if (size <= 0) {
                if (in.broken()) complain("the bootstrap is malformed");
                if (!in.broken() && size < 0)
                    complain("it cannot read its control channel", last_error());
                return std::nullopt;
            }
            in.received(static_cast<std::size_t>(size));
        }
    }

    static void complain(const char* what, std::error_code error = {}) {
        const auto reason = error ? ": " + error.message() : std::string{};
        std::fprintf(stderr, "tether: this process was started as a worker, but %s%s\n", what,
                     reason.c_str());
    }

    int serve(Descriptor connection, const PeerIdentity& identity) {
        if (!is_socket(connection.get())) {
            return refuse(errc::start_failed,
                          describe_lost("descriptor " + std::to_string(worker_fd::connection) +
                                        " is not its connection when it starts"));
        }
        const auto* type = choose();
        if (type == nullptr) return refuse(errc::protocol_mismatch, describe_choice());
        Admission admission{bootstrap_, std::move(connection), identity, guard_->leaving_fd()};
        std::unique_ptr<Channel> channel;
        try {
            const ObservedStep observed{"greeting"};
            channel = admission.admit();
        } catch (const std::system_error& error) {
            return refuse(errc::start_failed, std::string{"the worker could not "} + error.what());
        }
        if (channel == nullptr) return 0;
        if (admission.wanted() != bootstrap_.protocol) {
            return refuse(errc::protocol_mismatch,
                          "the hello asks for another protocol than the bootstrap");
        }
        try {
            apply_limits(bootstrap_.limits);
        } catch (const std::system_error& error) {
            return refuse(errc::start_failed, std::string{"the worker could not "} + error.what());
        }
        std::unique_ptr<AnyHandler> handler;
        try {
            const ObservedStep observed{"handler's constructor"};
            handler = type->make();
        } catch (ForcedUnwind&) {
            refuse(errc::start_failed, "its handler's constructor ended the main thread");
            kill_descendants();
            end_at_once(1);
        } catch (...) {
            return refuse(errc::start_failed,
                          "its handler's constructor threw: " + describe_thrown_in_words());
        }
        ForkedCopy::end_here();
        auto failure = serve(std::move(channel), *type, *handler);
        const auto at_end = destroy_handler(std::move(handler));
        if (failure.empty()) failure = at_end;
        if (failure.empty()) return 0;
        GivenStderr::instance().write("tether: this worker " + failure + "\n");
        return 1;
    }

    // What ended the worker, other than its parent; or nothing.
    std::string serve(std::unique_ptr<Channel> channel, const HandlerType& type,
                      AnyHandler& handler) {
        Service service{std::move(channel), *guard_, handler, bootstrap_, ledger()};
        service.welcome(bootstrap_.worker_secret, id_of(type));
        return service.run();
    }

    [[nodiscard]] LedgerWriter ledger() const noexcept {
        return LedgerWriter{ledger_memory_.data(), bootstrap_.slots()};
    }

    void settle_calls_in_work() {
        const auto* type = choose();
        const bool is_async = type != nullptr && type->is_async;
        bootstrap_.calls_in_work = calls_in_work(is_async, bootstrap_.calls_in_work);
    }

    // The handler of exactly the wanted protocol, or null.
    [[nodiscard]] const HandlerType* choose() const {
        for (const auto& type : types_) {
            if (id_of(type) == bootstrap_.protocol) return &type;
        }
        return nullptr;
    }

    static ProtocolId id_of(const HandlerType& type) {
        return {std::string{type.protocol}, type.version, type.fingerprint, type.is_live};
    }

    [[nodiscard]] std::string describe_choice() const {
        for (const auto& type : types_) {
            if (type.protocol == bootstrap_.protocol.name) {
                return describe_mismatch(bootstrap_.protocol, id_of(type));
            }
        }
        return "the parent wants protocol \"" + bootstrap_.protocol.name +
               "\", this program serves " + offered(types_);
    }

    int refuse(errc cause, const std::string& text) {
        ForkedCopy::end_here();
        guard_->report({cause, text});
        return 1;
    }

    std::span<const HandlerType> types_;
    Bootstrap bootstrap_;
    Guard* guard_ = nullptr;
    SharedMemory ledger_memory_;
};

}  // namespace detail
TETHER_NAMESPACE_END
