// Why: one event on the background thread settles calls, then their completion handlers run, then
// what those want to send leaves. As turns of the io_context of their own, each of these would cost
// a look for new events first.
#pragma once

#include <tether/config.hpp>

#include <memory>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Something to be done later in the same turn, when no lock is held any more.
class Deferred {
public:
    Deferred(const Deferred&) = delete;
    Deferred& operator=(const Deferred&) = delete;
    // `self` owns this object.
    virtual void run(std::shared_ptr<Deferred> self) = 0;

protected:
    Deferred() = default;
    ~Deferred() = default;
};

// Used by one thread.
class Turn {
public:
    // Calls act(), then runs what was deferred meanwhile. Within another turn it is part of that.
    template <class Act>
    void operator()(Act act) {
        if (stage_ != Stage::none) return act();
        stage_ = Stage::acting;
        act();
        run_all(after_act_, Stage::running);
        run_all(at_end_, Stage::ending);
        stage_ = Stage::none;
    }

    // The completion handler of a call that act() settled. Takes `what`. False, or an exception:
    // not now, and `what` is left alone. What handlers settle waits for the next event, so that the
    // turn ends.
    template <class Completion>
    bool after_act(std::shared_ptr<Completion>& what) {
        if (stage_ != Stage::acting) return false;
        after_act_.emplace_back() = std::move(what);
        return true;
    }

    // To be run once all handlers have run. False: not now.
    bool at_end(const std::shared_ptr<Deferred>& what) {
        if (stage_ != Stage::acting && stage_ != Stage::running) return false;
        at_end_.push_back(what);
        return true;
    }

private:
    enum class Stage { none, acting, running, ending };

    void run_all(std::vector<std::shared_ptr<Deferred>>& list, Stage stage) {
        stage_ = stage;
        for (auto& deferred : list) {
            auto* const target = deferred.get();
            target->run(std::move(deferred));
        }
        list.clear();
    }

    Stage stage_ = Stage::none;
    std::vector<std::shared_ptr<Deferred>> after_act_;
    std::vector<std::shared_ptr<Deferred>> at_end_;
};

}  // namespace detail
TETHER_NAMESPACE_END
