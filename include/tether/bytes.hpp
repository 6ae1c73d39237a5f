// Tether: a blob of bytes that travels beside the encoded message.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/block_cache.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN

/// A contiguous, owned run of bytes of any content and size, usable as a member of requests and
/// responses, at any depth, or as a whole response.
///
/// It is sent from and received into its own storage: it never passes through the codec, so a
/// mebibyte costs what the socket costs. Unlike a `std::vector` it does not fill new storage with
/// zeros, and large storage is recycled inside the process.
///
/// A regular value type: copies are deep, a moved-from object is empty. As thread-safe as a
/// `std::vector`. Allocation failure throws `std::bad_alloc`.
class Bytes {
public:
    Bytes() noexcept = default;

    /// `size` bytes of *indeterminate* value; write them before you read them.
    explicit Bytes(std::size_t size) { resize(size); }

    /// A copy of `bytes`.
    explicit Bytes(std::span<const std::byte> bytes) { assign(bytes.data(), bytes.size()); }

    /// A copy of `text`.
    explicit Bytes(std::string_view text) { assign(text.data(), text.size()); }

    Bytes(const Bytes& other) { assign(other.data(), other.size()); }
    Bytes(Bytes&& other) noexcept
        : block_(std::exchange(other.block_, {})), size_(std::exchange(other.size_, 0)) {}
    Bytes& operator=(Bytes other) noexcept {
        swap(other);
        return *this;
    }
    ~Bytes() { free_block(); }

    [[nodiscard]] std::byte* data() noexcept { return block_.data; }
    [[nodiscard]] const std::byte* data() const noexcept { return block_.data; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] std::size_t capacity() const noexcept { return block_.capacity; }

    [[nodiscard]] std::byte* begin() noexcept { return data(); }
    [[nodiscard]] std::byte* end() noexcept { return data() + size_; }
    [[nodiscard]] const std::byte* begin() const noexcept { return data(); }
    [[nodiscard]] const std::byte* end() const noexcept { return data() + size_; }
    [[nodiscard]] std::byte& operator[](std::size_t index) noexcept { return data()[index]; }
    [[nodiscard]] const std::byte& operator[](std::size_t index) const noexcept {
        return data()[index];
    }

    /// The bytes as text; valid until the next change of this object.
    [[nodiscard]] std::string_view view() const noexcept {
        return empty() ? std::string_view{}
                       : std::string_view{reinterpret_cast<const char*>(data()), size_};
    }

    /// Keeps the first bytes; new ones have *indeterminate* values. Keeps its storage when it
    /// shrinks.
    void resize(std::size_t size) {
        if (size > block_.capacity) grow(std::max(size, block_.capacity + block_.capacity / 2));
        size_ = size;
    }

    /// Makes room for `capacity` bytes; the size stays.
    void reserve(std::size_t capacity) {
        if (capacity > block_.capacity) grow(capacity);
    }

    /// Appends a copy of `bytes`, which must not be part of this object.
    void append(std::span<const std::byte> bytes) {
        const auto old = size_;
        resize(old + bytes.size());
        if (!bytes.empty()) std::memcpy(data() + old, bytes.data(), bytes.size());
    }

    void clear() noexcept { size_ = 0; }

    void swap(Bytes& other) noexcept {
        std::swap(block_, other.block_);
        std::swap(size_, other.size_);
    }

    friend bool operator==(const Bytes& left, const Bytes& right) noexcept {
        return left.view() == right.view();
    }

private:
    void assign(const void* source, std::size_t size) {
        resize(size);
        if (size != 0) std::memcpy(data(), source, size);
    }

    void grow(std::size_t capacity) {
        const auto larger = detail::BlockCache::instance().allocate(capacity);
        if (size_ != 0) std::memcpy(larger.data, block_.data, size_);
        free_block();
        block_ = larger;
    }

    void free_block() noexcept {
        if (block_.data != nullptr) detail::BlockCache::instance().release(block_);
    }

    detail::Block block_{};
    std::size_t size_ = 0;
};

TETHER_NAMESPACE_END
