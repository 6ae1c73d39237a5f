// Why: when a user's io_context is destroyed, the handlers that would have run on it must go with
// it, as with any Asio object, though their calls live in Tether. A service of the context learns
// of its end in time.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/runtime.hpp>

#include <asio/execution_context.hpp>
#include <asio/strand.hpp>

#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Something that waits for a completion on a context.
class Droppable {
public:
    virtual ~Droppable() = default;
    // The context is going: destroy the handler, complete nothing.
    virtual void drop() noexcept = 0;
};

class PendingList {
public:
    // False: the context is gone already.
    bool add(const std::shared_ptr<Droppable>& entry) {
        const auto lock = acquire();
        if (!lock) return true;
        if (closed_) return false;
        entries_.insert_or_assign(entry.get(), entry);
        return true;
    }

    void remove(Droppable* entry) noexcept {
        if (const auto lock = acquire()) entries_.erase(entry);
    }

    void close() noexcept {
        std::unordered_map<Droppable*, std::weak_ptr<Droppable>> entries;
        {
            const auto lock = acquire();
            if (!lock) return;
            closed_ = true;
            entries.swap(entries_);
        }
        for (auto& [address, weak] : entries) {
            if (const auto entry = weak.lock()) entry->drop();
        }
    }

private:
    // In a forked copy the mutex may be held by a thread that does not exist there: then the list
    // is left alone. So it is where a signal handler ends a program whose thread may have it.
    std::unique_lock<std::mutex> acquire() noexcept {
        const bool here = epoch_ == Runtime::fork_epoch().load();
        if (here && !is_interrupted()) return std::unique_lock{mutex_};
        return std::unique_lock{mutex_, std::try_to_lock};
    }

    const unsigned epoch_ = Runtime::fork_epoch().load();
    std::mutex mutex_;
    bool closed_ = false;
    std::unordered_map<Droppable*, std::weak_ptr<Droppable>> entries_;
};

class PendingService final : public asio::execution_context::service {
public:
    using key_type = PendingService;
    inline static asio::execution_context::id id;

    explicit PendingService(asio::execution_context& context)
        : asio::execution_context::service(context) {
        // Services are shut down in the reverse order of their making: until this one is, what is
        // still posted to a strand must find the strands alive. There is no public name for them.
        asio::use_service<asio::detail::strand_executor_service>(context);
    }

    static std::shared_ptr<PendingList> list_of(asio::execution_context& context) {
        return asio::use_service<PendingService>(context).list_;
    }

private:
    void shutdown() noexcept override { list_->close(); }

    std::shared_ptr<PendingList> list_ = std::make_shared<PendingList>();
};

}  // namespace detail
TETHER_NAMESPACE_END
