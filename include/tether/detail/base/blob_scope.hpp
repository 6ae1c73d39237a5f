// Why: a message may have blobs at any depth. They travel beside the payload, and the codec does
// not know. While a thread encodes or decodes a message, the conversion of Bytes finds here where
// the blobs go to or come from.
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
    std::size_t taken = 0;            // how many, from the first on
    std::vector<bool> taken_ahead{};  // empty as long as blobs are taken in order

    static BlobScope*& current() noexcept {
        static thread_local BlobScope* scope = nullptr;
        return scope;
    }

    // False: the blob was taken already.
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

// Installs a scope while one message is encoded or decoded. Scopes nest, because user code runs
// inside.
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

// Adds a blob to the message that this thread is encoding, and returns its number. Nothing if the
// thread is encoding no message.
inline std::optional<std::size_t> attach_blob(const Bytes& bytes) {
    auto* scope = BlobScope::current();
    if (scope == nullptr || scope->outgoing == nullptr) return std::nullopt;
    scope->outgoing->push_back(&bytes);
    return scope->outgoing->size() - 1;
}

// Takes the blob of this number from the message that this thread is decoding. Throws if there is
// none, or if it was taken already.
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
