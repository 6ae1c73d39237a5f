// Why: what a process is to a Worker: one handler, with the request loop that serves it on threads
// of this process, and the connection to that. Both are those of a real worker, and a pair of
// sockets joins them. Missing are the process, its guard and its control channel: what these say to
// each other is said here by a function call.
//
// Locks, in the order they may be taken: nested_mutex_, the connection's, requests_mutex_ or
// watching_; below those only the runtime's, an AsyncCall's and the service's.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/runtime.hpp>
#include <tether/detail/background/turn.hpp>
#include <tether/detail/background/wake_up_pool.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/detail/loopback/loopback_gate.hpp>
#include <tether/detail/loopback/loopback_log.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/os/watches.hpp>
#include <tether/detail/parent/connection_reading.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/detail/transport/channel.hpp>
#include <tether/detail/wire/bootstrap.hpp>
#include <tether/detail/wire/ledger.hpp>
#include <tether/detail/worker/service.hpp>
#include <tether/detail/worker/service_coroutines.hpp>
#include <tether/error.hpp>
#include <tether/options.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Its threads own it, too, since one whose handler never returns is left behind.
class LoopbackSession final : public Deferred,
                              public Bereaved,
                              private ConnectionOwner,
                              private ServiceControl,
                              private GateKeeper,
                              public std::enable_shared_from_this<LoopbackSession> {
public:
    // Throws std::system_error where the system has no sockets or no thread to give.
    static std::shared_ptr<LoopbackSession> start(const WorkerOptions& options,
                                                  std::uint64_t generation,
                                                  std::unique_ptr<AnyHandler> handler,
                                                  std::shared_ptr<Hub> hub,
                                                  std::shared_ptr<LoopbackLog> log) {
        auto& runtime = Runtime::usable();
        runtime.started_executor();
        ForkedCopy::watch();
        auto ends = make_endpoint(Transport::socket_pair);
        tune_connection(ends.child.get(), false);
        std::shared_ptr<LoopbackSession> session{
            new LoopbackSession{options, generation, std::move(ends.parent), std::move(handler),
                                std::move(hub), std::move(log), runtime}};
        session->begin(options, std::move(ends.child));
        if (session->is_live_) session->hub_->attach({session, &session->connection_});
        return session;
    }

    // On any thread, its own too: then nothing waits for that.
    ~LoopbackSession() {
        if (thread_.joinable()) thread_.detach();
        close_watches();  // before the socket is closed
        destroy_handler();
    }

    [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
    [[nodiscard]] unsigned calls_at_once() noexcept {
        return static_cast<unsigned>(calls().size());
    }
    [[nodiscard]] Connection& connection() noexcept { return connection_; }
    // Its handler is destroyed.
    [[nodiscard]] bool finished() const noexcept { return finished_.load(); }

    // As Connection::submit.
    std::uint64_t submit(Call& call) {
        put_in_order();
        return connection_.submit(call);
    }

    // --- Blocking calls

    // Sends a request and waits until it is settled. False: no more calls are taken. Throws
    // would_deadlock for a handler's call to its own worker that no thread would be left to answer.
    bool carry_out(BlockingCall& call) {
        if (served_by_this_thread() == this) return carry_out_nested(call);
        if (submit(call) == 0) return false;
        connection_.wait_for_answer(call);
        return true;
    }

    // From another thread.
    void cancel(BlockingCall& call) {
        forget_nested(call);
        connection_.cancel(call);
    }

    // --- Its end

    // Settles all calls, and tells the handlers that run to stop. May be called again.
    void end(const Reason& reason) {
        ended_.store(true);
        connection_.close();
        connection_.stop({.begun = close_requests()}, reason);
        leave(end_connection);
        const auto watching = acquire(watching_);
        close_watches();
    }

    // Returns once its handler is destroyed, or as long as `policy` says; then its threads are left
    // behind. By sleeping, since a condition variable may trust a clock that stands still.
    void wait_for_end(const StopPolicy& policy) {
        WaitClock clock;
        const auto drained = deadline_after(clock.now(), policy.drain);
        const auto deadline = deadline_after(drained, policy.terminate);
        Duration pause = std::chrono::microseconds{20};
        while (!finished_.load() && clock.now() < deadline) {
            std::this_thread::sleep_for(pause);
            clock.slept(pause);
            pause = std::min<Duration>(2 * pause, std::chrono::milliseconds{1});
        }
        if (join_or_leave_behind()) return;
        log_->warn(name_ +
                   ": a handler or a stop callback did not return; its thread is left behind");
    }

    // False: its thread has just been left behind.
    bool join_or_leave_behind() {
        const auto lock = acquire(joining_);
        if (!thread_.joinable()) return true;
        if (finished_.load()) {
            thread_.join();
            return true;
        }
        thread_.detach();
        return false;
    }

    // --- Bereaved: on the substitute thread

    void on_runtime_lost() override {
        ended_.store(true);
        connection_.forsake();
        fail({});
    }

    // --- Deferred

    void run(std::shared_ptr<Deferred>) override { connection_.on_others_ran(); }

private:
    // What the background thread watches, where no other thread does.
    struct WatchList {
        explicit WatchList(asio::io_context& context)
            : connection(context), deadline(context), overrun(context) {}
        WatchList(const WatchList&) = delete;
        WatchList& operator=(const WatchList&) = delete;
        ~WatchList() { Watches::let_go(connection); }

        WatchedDescriptor connection;
        WatchTimer deadline;
        WatchTimer overrun;  // of a handler
    };

    LoopbackSession(const WorkerOptions& options, std::uint64_t generation, Descriptor socket,
                    std::unique_ptr<AnyHandler> handler, std::shared_ptr<Hub> hub,
                    std::shared_ptr<LoopbackLog> log, Runtime& runtime)
        : ServiceControl(bootstrap_of(options, *handler).slots()),
          runtime_(runtime),
          name_(options.name),
          generation_(generation),
          log_(std::move(log)),
          hub_(std::move(hub)),
          handler_(std::move(handler)),
          connection_(*this, std::move(socket), options.max_message_bytes, {.worker = name_},
                      Duration::zero(), &wake_ups_) {
        wake_ups_.keep(true);
    }

    void begin(const WorkerOptions& options, Descriptor socket) {
        // A host that closes all descriptors wakes no thread that blocks in one. It looks up.
        limit_waiting_receives(socket.get(), std::chrono::seconds{1});
        ServiceControl& control = *this;
        const auto bootstrap = bootstrap_of(options, *handler_);
        auto channel = std::make_unique<Channel>(std::move(socket), options.max_message_bytes);
        service_ = std::make_unique<Service>(std::move(channel), control, gate_, bootstrap);
        service_->welcome({}, {});
        connection_.read_available();
        watches_ = std::make_unique<WatchList>(runtime_.context());
        if (!runtime_.tell_of_loss(weak_from_this())) {
            throw std::system_error(std::make_error_code(std::errc::bad_file_descriptor),
                                    closed_by_host);
        }
        try {
            thread_ = std::thread{[self = shared_from_this()] { self->serve(); }};
        } catch (const std::system_error& error) {
            throw std::system_error(error.code(), "start a thread");
        }
    }

    static Bootstrap bootstrap_of(const WorkerOptions& options, AnyHandler& handler) {
        Bootstrap bootstrap;
        bootstrap.concurrency = options.concurrency;
        bootstrap.max_message_bytes = options.max_message_bytes;
        bootstrap.calls_in_work =
            calls_in_work(handler.coroutines() != nullptr, options.calls_in_work);
        return bootstrap;
    }

    static constexpr const char* closed_by_host =
        "this process has closed the descriptors of its workers, as a daemon does";

    // --- On the threads of the service

    void serve() {
        name_this_thread(name_);  // those that it starts inherit it
        // Also where a handler ends this thread.
        struct AtTheEnd {
            explicit AtTheEnd(LoopbackSession& the_session) noexcept : session(the_session) {}
            AtTheEnd(const AtTheEnd&) = delete;
            AtTheEnd& operator=(const AtTheEnd&) = delete;
            ~AtTheEnd() { session.finish(failure); }
            LoopbackSession& session;
            std::string failure{};
        } at_the_end{*this};
        at_the_end.failure = service_->run();
    }

    void finish(const std::string& failure) noexcept {
        try {
            const auto* const text = failure.empty() ? "lost its connection" : failure.c_str();
            if (!ended_.load()) fail({errc::worker_exited, std::string{"it "} + text});
        } catch (...) {  // no memory: the calls are settled by their deadlines, or by stop()
        }
        service_.reset();
        destroy_handler();
        finished_.store(true);
    }

    void destroy_handler() noexcept {
        const auto failure = detail::destroy_handler(std::move(handler_));
        if (failure.empty()) return;
        std::fprintf(stderr, "tether: a LoopbackWorker %s\n", failure.c_str());
    }

    // A handler's blocking call to its own worker: its thread is of no use until that is answered.
    struct NestedCall {
        const BlockingCall* call;
        std::uint64_t number;
    };

    bool carry_out_nested(BlockingCall& call) {
        struct Forget {
            ~Forget() { session.forget_nested(call); }
            LoopbackSession& session;
            const BlockingCall& call;
        };
        const Forget forget{*this, call};
        {
            const Lock lock{nested_mutex_};
            if (nested_.size() + 1 >= std::min(service_->threads(), calls_at_once())) {
                throw CallError(errc::would_deadlock,
                                describe_call(call.info.request, name_) +
                                    ": a handler of this worker would wait for itself, as all "
                                    "its other handlers do; use async_call there");
            }
            nested_.push_back({&call, 0});
            // With the lock held: its handler may end before its number is known here.
            nested_.back().number = submit(call);
            if (nested_.back().number == 0) return false;
        }
        connection_.wait_for_answer(call);
        return true;
    }

    void forget_nested(const BlockingCall& call) noexcept {
        const Lock lock{nested_mutex_};
        std::erase_if(nested_, [&](const auto& nested) { return nested.call == &call; });
    }

    static const LoopbackSession*& served_by_this_thread() noexcept {
        static thread_local const LoopbackSession* served = nullptr;
        return served;
    }

    // --- GateKeeper

    void enter() noexcept override { served_by_this_thread() = this; }
    void leave_thread() noexcept override { served_by_this_thread() = nullptr; }
    // Its caller has an answer, or is about to: it is no reason any more for a deadlock.
    void on_handled(std::uint64_t number) noexcept override {
        const Lock lock{nested_mutex_};
        std::erase_if(nested_, [&](const auto& nested) { return nested.number == number; });
    }
    void put_in_order() noexcept override { order_.fetch_add(1, std::memory_order_acq_rel); }
    bool begin_request(std::uint64_t number) override {
        const Lock lock{requests_mutex_};
        if (closed_ || withdrawn_.erase(number) != 0) return false;
        last_begun_ = std::max(last_begun_, number);
        return true;
    }

    // Nothing begins any more. Returns what has begun.
    Begun close_requests() {
        const auto lock = acquire(requests_mutex_);
        closed_ = true;
        return Begun{{}, last_begun_};
    }

    // --- ServiceControl

    void watch_overrun() noexcept override {
        const Lock watching{watching_};
        if (!watches_) return;
        at(watches_->overrun, calls().next_overrun(),
           [](LoopbackSession& session) { session.on_overrun(); });
    }
    void log(Severity severity, std::string_view text) override { log_->say(severity, text); }
    void on_thread_ended() noexcept override {}

    void on_overrun() {
        while (const auto number = calls().stop_overrun(Clock::now())) {
            tell_helper();
            connection_.on_overrun(number);
        }
        watch_overrun();
    }

    // --- ConnectionOwner

    // Requests begin in the order of their numbers, more or less.
    bool withdraw(std::uint64_t number) override {
        const auto lock = acquire(requests_mutex_);
        if (number <= last_begun_) return false;
        try {
            withdrawn_.insert(number);
            return true;
        } catch (...) {  // no memory
            return false;
        }
    }
    bool on_given_up(std::uint64_t number, errc) override {
        ServiceControl::cancel(number);
        return true;
    }
    void on_answer() noexcept override { put_in_order(); }
    void on_error_answer(const ErrorAnswer&) override {}
    std::shared_ptr<OutputSource> output() override { return nullptr; }
    std::shared_ptr<Hub> hub() override { return is_live_ ? hub_ : nullptr; }
    void on_drained() override {}
    void on_lost(const std::string& text) override {
        if (!ended_.load()) fail_soon(text);
    }
    void on_violation(errc cause, const std::string& text) override {
        if (ended_.load()) return;
        if (!runtime_.on_thread()) return fail({cause, text});
        // That thread completes calls where it ends a connection, which must hold no lock.
        runtime_.post([session = shared_from_this(), cause, text] {
            session->fail({cause, text});
        });
    }
    [[nodiscard]] bool on_background_thread() const noexcept override {
        return runtime_.on_thread();
    }
    void let_others_run() override {
        auto* turn = runtime_.turn();
        if (turn != nullptr && turn->at_end(shared_from_this())) return;
        runtime_.post([session = shared_from_this()] { session->connection_.on_others_ran(); });
    }
    void watch_input() override { watch_connection(false); }
    void watch_room() override { watch_connection(true); }
    void unwatch_connection() override {
        const auto watching = acquire(watching_);
        if (watches_) Watches::let_go(watches_->connection);
    }
    void watch_deadline(TimePoint when) override {
        const auto watching = acquire(watching_);
        if (!watches_) return;
        at(watches_->deadline, when,
           [](LoopbackSession& session) { session.connection_.on_deadline(); });
    }

    // --- What the background thread watches

    using Act = void (*)(LoopbackSession&);
    struct InATurn {
        Act act;
        void operator()(LoopbackSession& session) const {
            auto* turn = session.runtime_.turn();
            if (turn == nullptr) return act(session);  // another thread runs Tether's context
            (*turn)([&] { act(session); });
        }
        void refuse(LoopbackSession& session, std::error_code error) const {
            session.on_unwatched(error);
        }
    };

    void watch_connection(bool room) {
        const auto watching = acquire(watching_);
        if (!watches_) return;
        const Act act = room
                            ? Act{[](LoopbackSession& session) { session.connection_.on_room(); }}
                            : Act{[](LoopbackSession& session) { session.connection_.on_input(); }};
        const auto error = Watches::when_ready(watches_->connection, connection_.fd(), room,
                                               shared_from_this(), InATurn{act});
        if (error) on_unwatched(error);
    }

    void at(WatchTimer& timer, TimePoint when, Act act) noexcept {
        const auto error = Watches::at(timer, when, shared_from_this(), InATurn{act});
        if (error) on_unwatched(error);
    }

    // With watching_ held.
    void close_watches() noexcept {
        if (runtime_.has_descriptors()) return watches_.reset();
        // The reactor's own number may be a file of the host's by now.
        [[maybe_unused]] auto* leaked = watches_.release();
    }

    // No thread would learn of its answers, nor of its deadlines.
    void on_unwatched(std::error_code error) noexcept {
        try {
            fail_soon("it could not be watched: " + error.message());
        } catch (...) {  // no memory, not even for that
            leave(end_connection);
        }
    }

    // --- Where what it lives on is gone

    // With any lock held. The service ends as well, in case the background thread does not run.
    void fail_soon(const std::string& text) {
        leave(end_connection);
        runtime_.look_after_descriptors();
        runtime_.post([session = shared_from_this(), text] {
            session->fail({errc::framing, text});
        });
    }

    void fail(Reason reason) {
        runtime_.look_after_descriptors();
        if (!runtime_.has_descriptors()) reason = {errc::stopped, closed_by_host};
        end(reason);
    }

    using Lock = std::unique_lock<std::mutex>;

    Runtime& runtime_;
    const std::string name_;
    const std::uint64_t generation_;
    const std::shared_ptr<LoopbackLog> log_;
    const std::shared_ptr<Hub> hub_;
    std::unique_ptr<AnyHandler> handler_;
    const bool is_live_ = handler_->is_live();  // the handler is destroyed first
    LoopbackGate gate_{*this, *handler_};

    std::atomic<unsigned> order_{0};

    std::mutex nested_mutex_;
    std::vector<NestedCall> nested_;  // not answered yet

    std::mutex requests_mutex_;
    std::uint64_t last_begun_ = 0;
    bool closed_ = false;                // nothing begins any more
    std::set<std::uint64_t> withdrawn_;  // by their callers, before they began

    std::mutex watching_;
    std::unique_ptr<WatchList> watches_;

    WakeUpPool wake_ups_;
    Connection connection_;
    std::unique_ptr<Service> service_;

    std::atomic<bool> ended_{false};  // its end was asked for, or is known
    std::atomic<bool> finished_{false};
    std::mutex joining_;
    std::thread thread_;  // the first of the service's, which joins the others
};

}  // namespace detail
TETHER_NAMESPACE_END
