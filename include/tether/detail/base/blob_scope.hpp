// Why: blobs travel beside the payload, at any depth of a message, and a codec knows nothing of
// that. While a message is encoded or decoded on a thread, what converts its Bytes finds here where
// they go to or come from.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The blobs of the message that this thread is encoding or decoding.
struct BlobScope {
    std::vector<const Bytes*>* outgoing = nullptr;
    std::span<Bytes> incoming{};
    std::size_t taken = 0;            // of these, the first ones
    std::vector<bool> taken_ahead{};  // mostly they are taken in order, and this is empty

    static BlobScope*& current() noexcept {
        static thread_local BlobScope* scope = nullptr;
        return scope;
    }

    // False: it was taken before.
    bool take(std::size_t index) {
        if (index < taken || (!taken_ahead.empty() && taken_ahead[index])) return false;
        if (index == taken) {
            ++taken;
        } else {
            taken_ahead.resize(incoming.size());
            taken_ahead[index] = true;
        }
        return true;
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

// The number of a blob in the message that is being encoded, which sends it along. Nothing where
// there is no such message.
inline std::optional<std::size_t> attach_blob(const Bytes& bytes) {
    auto* scope = BlobScope::current();
    if (scope == nullptr || scope->outgoing == nullptr) return std::nullopt;
    scope->outgoing->push_back(&bytes);
    return scope->outgoing->size() - 1;
}

// The blob of this number in the message that is being decoded. Throws when there is none, or when
// it was taken before.
inline Bytes take_blob(std::uint64_t number) {
    auto* scope = BlobScope::current();
    if (scope == nullptr || number >= scope->incoming.size()) {
        throw std::runtime_error("no blob number " + std::to_string(number));
    }
    const auto index = static_cast<std::size_t>(number);
    if (!scope->take(index)) {
        throw std::runtime_error("blob number " + std::to_string(number) + " is used twice");
    }
    return std::move(scope->incoming[index]);
}

}  // namespace detail
TETHER_NAMESPACE_END
