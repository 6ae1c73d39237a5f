// Why: when a user's io_context is destroyed, the handlers that would have run on it must go with
// it, as with any Asio object, though their calls live in Tether. A service of the context learns
// of its end in time.
#pragma once

#include <tether/config.hpp>

#include <asio/execution_context.hpp>

#include <memory>
#include <mutex>
#include <unordered_map>

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
    TETHER_DECL static std::shared_ptr<PendingList> of(asio::execution_context& context);

    TETHER_DECL PendingList();
    PendingList(const PendingList&) = delete;
    PendingList& operator=(const PendingList&) = delete;

    // False: the context is gone already.
    TETHER_DECL bool add(const std::shared_ptr<Droppable>& entry);
    TETHER_DECL void remove(Droppable* entry) noexcept;
    TETHER_DECL void close() noexcept;

private:
    TETHER_DECL std::unique_lock<std::mutex> acquire() noexcept;

    const unsigned epoch_;
    std::mutex mutex_;
    bool closed_ = false;
    std::unordered_map<Droppable*, std::weak_ptr<Droppable>> entries_;
};

}  // namespace detail
TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/pending_list.ipp>
#endif
