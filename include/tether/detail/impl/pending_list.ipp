#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/runtime.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/call/pending_list.hpp>

#include <asio/execution/blocking.hpp>
#include <asio/execution/context.hpp>
#include <asio/execution_context.hpp>
#include <asio/strand.hpp>

#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Of an executor it has the least that a strand asks for.
class ExecutorOfContext {
public:
    explicit ExecutorOfContext(asio::execution_context& context) noexcept : context_(&context) {}
    [[nodiscard]] asio::execution_context& query(asio::execution::context_t) const noexcept {
        return *context_;
    }
    static constexpr asio::execution::blocking_t query(asio::execution::blocking_t) noexcept {
        return asio::execution::blocking.always;
    }
    template <class Function>
    void execute(Function function) const {
        function();
    }
    friend bool operator==(const ExecutorOfContext&, const ExecutorOfContext&) noexcept = default;

private:
    asio::execution_context* context_;
};

class PendingService final : public asio::execution_context::service {
public:
    using key_type = PendingService;
    inline static asio::execution_context::id id;

    explicit PendingService(asio::execution_context& context)
        : asio::execution_context::service(context) {
        // Services are shut down in the reverse order of their making, and what is still posted to
        // a strand must find the strands alive when this one is. Their service is made by the first
        // strand of a context.
        [[maybe_unused]] const asio::strand<ExecutorOfContext> first{ExecutorOfContext{context}};
    }

    [[nodiscard]] const std::shared_ptr<PendingList>& list() const noexcept { return list_; }

private:
    void shutdown() noexcept override { list_->close(); }

    std::shared_ptr<PendingList> list_ = std::make_shared<PendingList>();
};

TETHER_DECL std::shared_ptr<PendingList> PendingList::of(asio::execution_context& context) {
    return asio::use_service<PendingService>(context).list();
}

TETHER_DECL PendingList::PendingList() : epoch_(Runtime::fork_epoch().load()) {}

TETHER_DECL bool PendingList::add(const std::shared_ptr<Droppable>& entry) {
    const auto lock = acquire();
    if (!lock) return true;
    if (closed_) return false;
    entries_.insert_or_assign(entry.get(), entry);
    return true;
}

TETHER_DECL void PendingList::remove(Droppable* entry) noexcept {
    if (const auto lock = acquire()) entries_.erase(entry);
}

TETHER_DECL void PendingList::close() noexcept {
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

// In a forked copy the mutex may be held by a thread that does not exist there: then the list is
// left alone. So it is where a signal handler ends a program whose thread may hold it.
TETHER_DECL std::unique_lock<std::mutex> PendingList::acquire() noexcept {
    const bool here = epoch_ == Runtime::fork_epoch().load();
    if (here && !is_interrupted()) return std::unique_lock{mutex_};
    return std::unique_lock{mutex_, std::try_to_lock};
}

}  // namespace detail
TETHER_NAMESPACE_END
