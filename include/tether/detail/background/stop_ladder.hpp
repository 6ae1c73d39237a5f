// Why: how to end a process is a policy; as a state machine that is given the time it can be tested
// without a process.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/options.hpp>

#include <chrono>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The steps of ending a process, each taken when the one before had its time. The last two are for
// a process that SIGKILL does not end, since it was refused or the kernel does not let go of it.
class StopLadder {
public:
    enum class Step { none, ask, terminate, kill, cut, give_up };

    // The kernel may need some time to give back the memory of a large process.
    static constexpr auto kill_patience = std::chrono::seconds{10};
    // For the worker's own guard, once its lifeline is cut.
    static constexpr auto cut_patience = std::chrono::seconds{3};

    // `first` is where it begins: `kill` for no friendliness at all.
    StopLadder(StopPolicy policy, Step first) noexcept : policy_(policy), next_(first) {}

    // The step that is due at `now`, each once; `none` when it is time to wait until deadline().
    Step advance(TimePoint now) noexcept {
        if (now < deadline_) return Step::none;
        const Step step = next_;
        switch (step) {
            case Step::ask:
                next_ = Step::terminate;
                deadline_ = deadline_after(now, policy_.drain);
                break;
            case Step::terminate:
                next_ = Step::kill;
                deadline_ = deadline_after(now, policy_.terminate);
                break;
            case Step::kill:
                next_ = Step::cut;
                deadline_ = deadline_after(now, kill_patience);
                break;
            case Step::cut:
                next_ = Step::give_up;
                deadline_ = deadline_after(now, cut_patience);
                break;
            case Step::give_up:
            case Step::none:
                next_ = Step::none;
                deadline_ = TimePoint::max();
                break;
        }
        return step;
    }

    [[nodiscard]] TimePoint deadline() const noexcept { return deadline_; }

    // Skips the friendly steps: time is up.
    void hurry() noexcept {
        if (next_ != Step::ask && next_ != Step::terminate) return;
        next_ = Step::kill;
        deadline_ = TimePoint::min();
    }

    // The last step had no effect: the next is due at once.
    void refused() noexcept { deadline_ = TimePoint::min(); }

private:
    StopPolicy policy_;
    Step next_;
    TimePoint deadline_ = TimePoint::min();
};

}  // namespace detail
TETHER_NAMESPACE_END
