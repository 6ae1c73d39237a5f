// Why: the event loops that wait for the end of a worker's process are told of it by the background
// thread, under no lock: those that wait, and those that are due, are two lists.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/end_wait.hpp>
#include <tether/errc.hpp>
#include <tether/error.hpp>
#include <tether/exit_status.hpp>

#include <algorithm>
#include <list>
#include <memory>
#include <optional>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Not thread-safe.
class EndWaits {
public:
    using List = std::list<std::shared_ptr<EndWait>>;

    void add(const std::shared_ptr<EndWait>& wait) { waiting_.push_back(wait); }

    // There is no process. `last` is the report of the last one, `is_latest`: no start has failed
    // since; a wait is told of the failure, then.
    void end(const std::shared_ptr<const ExitReport>& last, bool is_latest) {
        for (const auto& wait : waiting_) {
            if (is_latest || wait->stops()) wait->report = last;
        }
        due_.splice(due_.end(), waiting_);
    }

    // One that was cancelled. A stop has begun: `unnoticed` cancellation comes too late for it.
    std::shared_ptr<EndWait> take(const AsyncCall& call, bool unnoticed) {
        const auto found = std::find_if(waiting_.begin(), waiting_.end(),
                                        [&](const auto& wait) { return wait.get() == &call; });
        if (found == waiting_.end() || ((*found)->stops() && unnoticed)) return nullptr;
        auto result = std::move(*found);
        waiting_.erase(found);
        return result;
    }

    [[nodiscard]] bool any_due() const noexcept { return !due_.empty(); }
    List take_due() noexcept { return std::exchange(due_, {}); }

    // Under no lock. `failure`: why there is no process, if one failed to start.
    static void complete(const List& due, const std::optional<CallError>& failure) {
        for (const auto& wait : due) {
            if (wait->report != nullptr || wait->stops()) {
                wait->succeed();
            } else if (failure) {
                wait->fail(*failure);
            } else {
                wait->refuse(errc::stopped, "it has had no process yet");
            }
        }
    }

private:
    List waiting_;
    List due_;  // to be completed
};

}  // namespace detail
TETHER_NAMESPACE_END
