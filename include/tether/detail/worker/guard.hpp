// Why: a handler that runs for ever, blocks, or holds every lock must not keep a worker from
// hearing its parent, nor from leaving when the parent is gone. One small thread sees to both. It
// never allocates and never runs user code.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/block_cache.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/wire/bootstrap.hpp>
#include <tether/detail/wire/control_record.hpp>
#include <tether/detail/wire/line_splitter.hpp>
#include <tether/detail/worker/own_observer.hpp>
#include <tether/detail/worker/service_control.hpp>
#include <tether/logging.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Made once in a worker and never destroyed: it watches until the very end of the process.
class Guard final : public ServiceControl {
public:
    Guard(Descriptor control, ControlReader control_in, Descriptor parent, Descriptor alarm,
          const Bootstrap& bootstrap)
        : ServiceControl(bootstrap.slots()),
          control_(std::move(control)),
          control_in_(control_in),
          parent_(std::move(parent)),
          alarm_(std::move(alarm)),
          parent_by_number_(bootstrap.parent_pid),
          mark_severity_(bootstrap.mark_severity),
          grace_(std::chrono::microseconds{static_cast<std::int64_t>(
              std::min<std::uint64_t>(bootstrap.orphan_grace_us, std::uint64_t{1} << 53))}) {}

    void start() {
        WorkerSignals::install(terminate_);
        continue_when_parent_ends(control_.get());
        const AllSignalsBlocked blocked;
        std::thread{[this] { run(); }}.detach();
    }

    // When serving has ended: because the parent is gone? It may be a moment until that shows,
    // since the connection may end before the control channel.
    [[nodiscard]] bool is_orphaned() const noexcept {
        PollItem item = readable(leaving_fd());
        wait_ready({&item, 1}, deadline_after(Clock::now(), std::chrono::milliseconds{100}));
        return orphaned_.load();
    }
    // Makes the thread give back memory that was kept for large messages.
    void look_after_memory() noexcept {
        self().store(this);
        BlockCache::instance().set_reminder([]() noexcept {
            const auto* guard = self().load();
            guard->memory_kept_.store(true);
            guard->overrun_.notify();
            return true;
        });
    }
    // Makes the parent check whether its descriptors are still open.
    void sound_alarm() const noexcept { ring(alarm_); }

    void watch_overrun() noexcept override { overrun_.notify(); }
    void log(Severity severity, std::string_view text) override {
        const auto line = mark_severity_ ? with_mark(severity, text) : std::string{text} + '\n';
        GivenStderr::instance().write(line);
    }
    // A process whose main thread ends alone would go on without it.
    void on_thread_ended() noexcept override {
        std::fflush(stdout);
        kill_descendants();
        end_at_once(1);
    }

    // Tells the parent why this worker cannot serve. Best effort.
    void report(StartFailure failure) const {
        failure.text.resize(std::min(failure.text.size(), ControlReader::capacity / 2));
        const auto record = control_record(ControlType::failed, failure.encode());
        const ConstBuffer buffer{record.data(), record.size()};
        send_some(control_.get(), {&buffer, 1});
    }

private:
    static std::atomic<const Guard*>& self() noexcept {
        static std::atomic<const Guard*> guard{nullptr};
        return guard;
    }

    void run() noexcept {
        name_this_thread("tether-guard");
        obey();  // what came together with the bootstrap
        for (;;) {
            PollItem items[] = {readable(control_.get()), readable(parent_.get()),
                                readable(terminate_.fd()), readable(overrun_.fd())};
            const auto wake = std::min({next_look(), calls().next_overrun(), next_give_back_});
            if (wait_ready(items, wake) < 0) end_blind("wait for its parent (poll)");
            if ((is_ready(items[1]) && !parent_.is_ours()) ||
                (is_ready(items[2]) && !terminate_.is_ours()) ||
                (is_ready(items[3]) && !overrun_.is_ours())) {
                end_without_descriptors();
            }
            if (is_ready(items[3])) overrun_.drain();
            report_overruns();
            give_back_memory();
            if (is_ready(items[2])) {
                terminate_.drain();
                leave(end_receiving);
            }
            const bool control_open = !is_ready(items[0]) || read_control();
            if (!control_open || is_ready(items[1]) || parent_is_gone()) end_orphan();
        }
    }

    // Where the parent has no pidfd its number must do, in case another process holds the channel
    // open.
    [[nodiscard]] TimePoint next_look() const noexcept {
        return parent_ ? TimePoint::max() : Clock::now() + std::chrono::milliseconds{500};
    }
    [[nodiscard]] bool parent_is_gone() const noexcept {
        return !parent_ && parent_by_number_.is_gone();
    }

    bool read_control() noexcept {
        const MutableBuffer space{control_in_.space(), control_in_.space_size()};
        const auto size = receive_some(control_.get(), {&space, 1}, Blocking::no);
        if (size < 0 && would_block()) return true;
        if (size < 0) {
            const auto error = last_error();
            if (!control_.is_ours()) end_without_descriptors();
            if (!is_hang_up(error)) end_blind("read its control channel");
            return false;
        }
        if (size == 0 || control_in_.broken()) return false;
        control_in_.received(static_cast<std::size_t>(size));
        obey();
        return true;
    }

    void obey() noexcept {
        while (const auto record = control_in_.next()) {
            if (record->type == ControlType::stop) leave(end_receiving);
            if (record->type == ControlType::cancel) {
                cancel(BinaryReader{record->content}.number<std::uint64_t>());
            }
            if (record->type == ControlType::probe) {
                answer_probe(BinaryReader{record->content}.number<std::uint64_t>());
            }
        }
    }

    void answer_probe(std::uint64_t number) noexcept {
        tell(number, calls().is_running(number) ? ControlType::running : ControlType::resting);
    }

    void report_overruns() noexcept {
        while (const auto number = calls().stop_overrun(Clock::now())) {
            tell(number, ControlType::overran);
            tell_helper();
        }
    }

    void give_back_memory() noexcept {
        if (memory_kept_.exchange(false)) {
            next_give_back_ = deadline_after(Clock::now(), BlockCache::look_period);
        }
        if (next_give_back_ == TimePoint::max() || Clock::now() < next_give_back_) return;
        const bool again = BlockCache::instance().give_back();
        next_give_back_ =
            again ? deadline_after(Clock::now(), BlockCache::look_period) : TimePoint::max();
    }

    void tell(std::uint64_t number, ControlType type) const noexcept {
        const auto record = record_about(number, type);
        const ConstBuffer buffer{record.data(), record.size()};
        send_some(control_.get(), {&buffer, 1});
    }

    // The system refuses what this thread lives on: nothing would end this process once the parent
    // is gone, so it ends now, and says why as far as it can.
    [[noreturn]] void end_blind(const char* step) noexcept {
        const char* reason = describe_refusal(last_error());
        std::array<char, 160> text;
        const auto size =
            std::snprintf(text.data(), text.size(), "the worker could not %s: %s", step, reason);
        const FailedRecord record{{text.data(), static_cast<std::size_t>(size)}};
        const ConstBuffer buffer{record.view().data(), record.view().size()};
        send_some(control_.get(), {&buffer, 1});
        end_with_all_descendants();
    }

    // An idle main thread returns at once, and the process ends while this thread waits. What still
    // runs after the grace is ended by force.
    [[noreturn]] void end_orphan() noexcept {
        orphaned_.store(true);
        sound_alarm();
        leave(end_connection);
        const auto end = deadline_after(Clock::now(), grace_);
        PollItem nothing = readable(-1);
        while (wait_ready({&nothing, 1}, end) < 0 && Clock::now() < end) {
        }
        control_.reset();  // finding the descendants needs two descriptors: there may be no others
        parent_.reset();
        OwnObserver::mend_trace();
        end_with_all_descendants();
    }

    // The parent learns from the exit code that it was not a signal.
    [[noreturn]] static void end_without_descriptors() noexcept {
        GivenStderr::instance().write(descriptors_lost);
        kill_descendants();
        end_at_once(1);
    }

    Descriptor control_;
    ControlReader control_in_;
    Descriptor parent_;
    Descriptor alarm_;
    const ParentByNumber parent_by_number_;
    const bool mark_severity_;
    const Duration grace_;
    WakeUp terminate_;
    WakeUp overrun_;
    mutable std::atomic<bool> memory_kept_{false};
    TimePoint next_give_back_ = TimePoint::max();
    std::atomic<bool> orphaned_{false};
};

}  // namespace detail
TETHER_NAMESPACE_END
