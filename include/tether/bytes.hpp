// Tether: a blob of bytes that travels beside the encoded message.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/block_cache.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {
struct BytesFilling;
}

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
/// zeros, and large storage is recycled inside the process: up to eight freed blocks of 1 MiB or
/// more are kept, some 256 MiB together. In a worker, and where there is a `Worker`, the memory of
/// a kept block that is not used again goes back to the system after one or two seconds. A message
/// may have 4096 blobs; their sizes count towards `WorkerOptions::max_message_bytes`.
///
/// A regular value type; a moved-from object is empty. **A copy shares the storage** until one of
/// the two is written to, which then gets storage of its own. So a handler that returns a blob of
/// its request copies nothing. But once the non-const `data()`, `begin()`, `end()` or `operator[]`
/// has handed out where to write, that storage is never shared: copies are made at once. What is
/// received or made from other bytes is shareable, and so is its copy. Read through a `const`
/// object or `view()`: a non-const access counts as writing, even if it only reads.
///
/// Thread safety: different objects may be used at the same time, also where they share storage,
/// and so may the `const` members of one object. A non-const access changes its object, unlike that
/// of a `std::vector`: take `data()` once before several threads fill one object.
///
/// If there is no memory for storage, `std::bad_alloc` is thrown and nothing changes.
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

    /// Shares the storage of `other`, without any allocation, or copies the bytes if that must not
    /// be shared.
    Bytes(const Bytes& other) {
        if (other.empty()) return;
        if (other.block_->share()) {
            block_ = other.block_;
            size_ = other.size_;
        } else {
            assign(other.data(), other.size());
        }
    }

    /// Takes the storage; `other` is empty then. Pointers into it stay valid.
    Bytes(Bytes&& other) noexcept
        : block_(std::exchange(other.block_, nullptr)), size_(std::exchange(other.size_, 0)) {}

    /// Copies or moves, depending on the argument. The previous storage is released.
    Bytes& operator=(Bytes other) noexcept {
        swap(other);
        return *this;
    }

    ~Bytes() { leave_block(); }

    /// The first byte; may be null if there are none. Valid until `resize`, `reserve` or `append`
    /// needs more than `capacity()`, or the object is assigned to, swapped, moved from or
    /// destroyed; if the storage is shared, also until `reserve`, `append` or a non-const access.
    /// The same holds for iterators and `view()`.
    ///
    /// The non-const one copies shared storage first, which may throw. Take it once, not per byte.
    [[nodiscard]] std::byte* data() {
        if (block_ == nullptr) return nullptr;
        if (!block_->exposed()) expose();
        return block_->data();
    }
    [[nodiscard]] const std::byte* data() const noexcept {
        return block_ == nullptr ? nullptr : block_->data();
    }

    /// How many bytes there are.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// Whether there are none.
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

    /// How many bytes there may be before larger storage is needed.
    [[nodiscard]] std::size_t capacity() const noexcept {
        return block_ == nullptr ? 0 : block_->capacity();
    }

    /// Iterators, which are pointers. The non-const ones are as the non-const `data()`.
    [[nodiscard]] std::byte* begin() { return data(); }
    [[nodiscard]] std::byte* end() { return data() + size_; }
    [[nodiscard]] const std::byte* begin() const noexcept { return data(); }
    [[nodiscard]] const std::byte* end() const noexcept { return data() + size_; }

    /// The byte at `index`, which must be less than `size()`; not checked.
    [[nodiscard]] std::byte& operator[](std::size_t index) { return data()[index]; }
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
        if (size > capacity()) own(enough(size));
        size_ = size;
    }

    /// Makes room for `capacity` bytes at least, in storage that is not shared; the size stays.
    /// Never gives room back.
    void reserve(std::size_t capacity) {
        if (capacity != 0) own(std::max(capacity, size_));
    }

    /// Appends a copy of `bytes`, which must not be part of this object.
    void append(std::span<const std::byte> bytes) {
        if (bytes.empty()) return;
        own(enough(size_ + bytes.size()));
        std::memcpy(block_->data() + size_, bytes.data(), bytes.size());
        size_ += bytes.size();
    }

    /// Removes the bytes and keeps the storage. Assign `Bytes{}` to release that, too.
    void clear() noexcept { size_ = 0; }

    /// Exchanges bytes and storage with `other`; nothing is copied.
    void swap(Bytes& other) noexcept {
        std::swap(block_, other.block_);
        std::swap(size_, other.size_);
    }

    /// True for the same bytes in the same order; the capacity does not matter.
    friend bool operator==(const Bytes& left, const Bytes& right) noexcept {
        return left.view() == right.view();
    }

private:
    friend struct detail::BytesFilling;

    void assign(const void* source, std::size_t size) {
        resize(size);
        if (size != 0) std::memcpy(block_->data(), source, size);
    }

    // How large storage for `size` bytes should be: it grows by half at least.
    [[nodiscard]] std::size_t enough(std::size_t size) const noexcept {
        const auto now = capacity();
        return size <= now ? size : std::max(size, now + now / 2);
    }

    // Makes the storage this object's alone, with room for `capacity` bytes; `capacity` is at least
    // size().
    void own(std::size_t capacity) {
        if (capacity <= this->capacity() && !block_->shared()) return;
        auto* block = detail::BlockCache::instance().allocate(capacity);
        if (size_ != 0) std::memcpy(block->data(), block_->data(), size_);
        leave_block();
        block_ = block;
    }

    void expose() {
        own(size_);
        block_->expose();
    }

    void leave_block() noexcept {
        if (block_ != nullptr && block_->leave()) detail::BlockCache::instance().release(block_);
    }

    detail::Block* block_ = nullptr;
    std::size_t size_ = 0;
};

namespace detail {

// Fills Bytes that were just made, without exposing them, so that they can be shared afterwards.
// The pointer must not be used for writing once they are handed out.
struct BytesFilling {
    static std::byte* data(Bytes& bytes) noexcept {
        return bytes.block_ == nullptr ? nullptr : bytes.block_->data();
    }
};

}  // namespace detail

TETHER_NAMESPACE_END
