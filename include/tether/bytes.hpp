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
///     struct Image {
///         int width{};
///         tether::Bytes pixels{};
///     };
///     NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Image, width, pixels)
///
/// It is sent from and received into its own storage: it never passes through the codec, so a
/// mebibyte costs what the socket costs. Unlike a `std::vector` it does not fill new storage with
/// zeros, and large storage is recycled inside the process: of blocks of 1 MiB or more, up to eight
/// with together 256 MiB are kept when they are freed. A message may have 4096 blobs; their sizes
/// count towards `WorkerOptions::max_message_bytes`.
///
/// A regular value type: copies are deep, a moved-from object is empty. As thread-safe as a
/// `std::vector`. Allocation failure throws `std::bad_alloc` and changes nothing.
class Bytes {
public:
    /// No bytes, and no storage.
    Bytes() noexcept = default;

    /// `size` bytes of *indeterminate* value; write them before you read them.
    explicit Bytes(std::size_t size) { resize(size); }

    /// A copy of `bytes`.
    explicit Bytes(std::span<const std::byte> bytes) { assign(bytes.data(), bytes.size()); }

    /// A copy of the characters of `text`, without a null byte at the end.
    explicit Bytes(std::string_view text) { assign(text.data(), text.size()); }

    /// Copies the bytes, into storage of their own.
    Bytes(const Bytes& other) { assign(other.data(), other.size()); }

    /// Takes the storage; `other` is empty then. Pointers into it stay valid.
    Bytes(Bytes&& other) noexcept
        : block_(std::exchange(other.block_, {})), size_(std::exchange(other.size_, 0)) {}

    /// Copies or moves, by what it is given. The storage that this object had is freed.
    Bytes& operator=(Bytes other) noexcept {
        swap(other);
        return *this;
    }

    ~Bytes() { free_block(); }

    /// The first byte; may be null when there are none. Valid until the bytes move: until one of
    /// `resize`, `reserve`, `append` needs more than `capacity()`, or the object is assigned to,
    /// swapped, moved from or destroyed. The same holds for iterators and `view()`.
    [[nodiscard]] std::byte* data() noexcept { return block_.data; }
    [[nodiscard]] const std::byte* data() const noexcept { return block_.data; }

    /// How many bytes there are.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// Whether there are none.
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

    /// How many bytes there may be before the storage must be replaced.
    [[nodiscard]] std::size_t capacity() const noexcept { return block_.capacity; }

    /// Iterators, which are pointers.
    [[nodiscard]] std::byte* begin() noexcept { return data(); }
    [[nodiscard]] std::byte* end() noexcept { return data() + size_; }
    [[nodiscard]] const std::byte* begin() const noexcept { return data(); }
    [[nodiscard]] const std::byte* end() const noexcept { return data() + size_; }

    /// The byte at `index`, which must be less than `size()`; not checked.
    [[nodiscard]] std::byte& operator[](std::size_t index) noexcept { return data()[index]; }
    [[nodiscard]] const std::byte& operator[](std::size_t index) const noexcept {
        return data()[index];
    }

    /// The bytes as text, without copying them.
    [[nodiscard]] std::string_view view() const noexcept {
        return empty() ? std::string_view{}
                       : std::string_view{reinterpret_cast<const char*>(data()), size_};
    }

    /// Keeps the first bytes; new ones have *indeterminate* values. Keeps its storage when it
    /// shrinks, and grows by half at least when it must grow, so that many small steps are cheap.
    void resize(std::size_t size) {
        if (size > block_.capacity) grow(std::max(size, block_.capacity + block_.capacity / 2));
        size_ = size;
    }

    /// Makes room for `capacity` bytes at least; the size stays. Never gives room back.
    void reserve(std::size_t capacity) {
        if (capacity > block_.capacity) grow(capacity);
    }

    /// Appends a copy of `bytes`, which must not be part of this object.
    void append(std::span<const std::byte> bytes) {
        const auto old = size_;
        resize(old + bytes.size());
        if (!bytes.empty()) std::memcpy(data() + old, bytes.data(), bytes.size());
    }

    /// Leaves no bytes, but the storage. Assign `Bytes{}` to free that, too.
    void clear() noexcept { size_ = 0; }

    /// Exchanges bytes and storage with `other`; nothing is copied.
    void swap(Bytes& other) noexcept {
        std::swap(block_, other.block_);
        std::swap(size_, other.size_);
    }

    /// Equal are the same bytes in the same order; the capacity does not matter.
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
