// Why: blobs travel beside the payload, at any depth of a message, and a codec knows nothing of
// that. While a message is encoded or decoded on a thread, what converts its Bytes finds here where
// they go to or come from.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>

#include <span>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The blobs of the message that this thread is encoding or decoding.
struct BlobScope {
    std::vector<const Bytes*>* outgoing = nullptr;
    std::span<Bytes> incoming{};
    std::vector<bool> taken{};

    static BlobScope*& current() noexcept {
        static thread_local BlobScope* scope = nullptr;
        return scope;
    }
};

// Installs a scope for the length of one encode or decode; they nest, since user code runs inside.
class BlobScopeGuard {
public:
    explicit BlobScopeGuard(BlobScope& scope) noexcept
        : previous_(std::exchange(BlobScope::current(), &scope)) {}
    BlobScopeGuard(const BlobScopeGuard&) = delete;
    BlobScopeGuard& operator=(const BlobScopeGuard&) = delete;
    ~BlobScopeGuard() { BlobScope::current() = previous_; }

private:
    BlobScope* previous_;
};

}  // namespace detail
TETHER_NAMESPACE_END
