// Why: glibc maps every allocation above 32 MiB anew, and touching fresh pages costs 25 times as
// much as copying the bytes. So a few large blocks are kept when they are freed, and the largest
// use large pages. The memory of a block that is unused for a second or two goes back to the
// system; the thread that gives it back is woken only while a block is kept. The mutex is only
// tried: in a forked copy, the thread that holds it does not exist.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/memory.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <new>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// A block of memory: this header, then the bytes. Several Bytes may own it. Once an owner has
// handed out a pointer to write through, the block must never get another owner, which would see
// the writes.
class Block {
public:
    // Where the bytes begin: one cache line in, because the kernel copies a tenth faster to an
    // aligned address. Only large blocks are aligned themselves.
    static constexpr std::size_t head = 64;

    explicit Block(std::size_t capacity) noexcept : capacity_(capacity) {}

    [[nodiscard]] std::byte* data() noexcept { return reinterpret_cast<std::byte*>(this) + head; }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

    // Adds an owner. False: the block must not have another.
    bool share() noexcept {
        if (exposed()) return false;
        owners_.fetch_add(1, std::memory_order_relaxed);
        return true;
    }

    // Removes an owner. True: it was the last.
    bool leave() noexcept {
        return !shared() || owners_.fetch_sub(1, std::memory_order_acq_rel) == 1;
    }

    // Called by an owner. False: there is no other owner, so no other thread can add one; what
    // former owners did with the bytes happened before.
    [[nodiscard]] bool shared() const noexcept {
        return owners_.load(std::memory_order_acquire) > 1;
    }

    // Called by the only owner. It cannot be undone.
    void expose() noexcept { owners_.store(0, std::memory_order_relaxed); }
    [[nodiscard]] bool exposed() const noexcept {
        return owners_.load(std::memory_order_relaxed) == 0;
    }

private:
    std::atomic<std::size_t> owners_{1};  // 0: one owner, and the block is exposed
    std::size_t capacity_;
};
static_assert(sizeof(Block) <= Block::head && std::is_trivially_destructible_v<Block>);

class BlockCache {
public:
    static constexpr std::size_t smallest = std::size_t{1} << 20;
    static constexpr std::size_t slots = 8;
    // Each block may be a large page longer than requested.
    static constexpr std::size_t largest_total = (std::size_t{256} << 20) + slots * large_page;

    // Leaked on purpose: Bytes may be destroyed after static destruction.
    TETHER_SHARED_STATE static BlockCache& instance() {
        static BlockCache& cache = *new BlockCache;
        return cache;
    }

    Block* allocate(std::size_t capacity) {
        if (capacity > std::size_t(-1) / 2) throw std::bad_alloc{};
        if (capacity < smallest) return place(std::malloc(Block::head + capacity), capacity);
        if (Block* kept = take(capacity)) return place(kept, kept->capacity());
        return allocate_large(capacity);
    }

    // Takes a block without owners.
    void release(Block* block) noexcept {
        if (block->capacity() < smallest || !keep(block)) return std::free(block);
        if (watched_.exchange(true)) return;
        const auto reminder = reminder_.load();
        if (reminder == nullptr || !reminder()) watched_.store(false);
    }

    // Arranges a call of give_back() after `look_period`. False: there will be none.
    using Reminder = bool (*)() noexcept;
    static constexpr std::chrono::seconds look_period{1};

    // Set by the thread that calls give_back(). In a forked copy the previous thread is gone.
    void set_reminder(Reminder reminder) noexcept {
        reminder_.store(reminder);
        watched_.store(false);
    }

    // Gives back the memory of blocks that were here at the last call already, but keeps their
    // addresses: it neither allocates nor frees. True: call it again after `look_period`.
    bool give_back() noexcept {
        const std::unique_lock lock{mutex_, std::try_to_lock};
        if (!lock) return true;
        bool again = false;
        for (auto& slot : slots_) {
            if (slot.block == nullptr) continue;
            if (slot.age == Age::old) give_back_pages(slot.block->data(), slot.block->capacity());
            again = again || slot.age == Age::fresh;
            slot.age = slot.age == Age::fresh ? Age::old : Age::empty;
        }
        watched_.store(again);
        return again;
    }

    // Frees all kept blocks.
    void trim() noexcept {
        const std::unique_lock lock{mutex_, std::try_to_lock};
        if (!lock) return;
        for (auto& slot : slots_) std::free(std::exchange(slot.block, nullptr));
        total_ = 0;
    }

private:
    enum class Age : unsigned char { fresh, old, empty };
    struct Slot {
        Block* block = nullptr;
        Age age = Age::fresh;  // seen by give_back() never, once, twice: memory given back
    };

    bool keep(Block* block) noexcept {
        const std::unique_lock lock{mutex_, std::try_to_lock};
        if (!lock || total_ + block->capacity() > largest_total) return false;
        for (auto& slot : slots_) {
            if (slot.block != nullptr) continue;
            slot = {block, Age::fresh};
            total_ += block->capacity();
            return true;
        }
        return false;
    }

    static Block* place(void* memory, std::size_t capacity) {
        if (memory == nullptr) throw std::bad_alloc{};
        return ::new (memory) Block{capacity};
    }

    // Rounds up, so that a buffer which grows by doubling finds a kept block again. A block that
    // glibc maps separately may be advised, because it never becomes part of the heap.
    static Block* allocate_large(std::size_t capacity) {
        const bool mapped = capacity > (std::size_t{32} << 20);
        const auto unit = mapped ? large_page : std::size_t{64} * 1024;
        const auto size = (Block::head + capacity + unit - 1) / unit * unit;
        void* memory = std::aligned_alloc(mapped ? large_page : Block::head, size);
        if (mapped && memory != nullptr) advise_large_pages(memory, size);
        return place(memory, size - Block::head);
    }

    Block* take(std::size_t capacity) noexcept {
        const std::unique_lock lock{mutex_, std::try_to_lock};
        if (!lock) return nullptr;
        Slot* best = nullptr;
        for (auto& slot : slots_) {
            // A block more than four times too large would waste more than it saves.
            if (slot.block == nullptr || slot.block->capacity() < capacity) continue;
            if (slot.block->capacity() / 4 > capacity) continue;
            if (best == nullptr || slot.block->capacity() < best->block->capacity()) best = &slot;
        }
        if (best == nullptr) return nullptr;
        total_ -= best->block->capacity();
        return std::exchange(best->block, nullptr);
    }

    std::mutex mutex_;
    std::array<Slot, slots> slots_{};
    std::size_t total_ = 0;
    std::atomic<bool> watched_{false};  // give_back() will be called
    std::atomic<Reminder> reminder_{nullptr};
};

}  // namespace detail
TETHER_NAMESPACE_END
