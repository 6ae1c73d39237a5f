// Why: above 32 MiB glibc maps every allocation anew, and touching fresh pages costs 25 times the
// copy of the bytes. A few large blocks are therefore kept when they are freed. The lock is only
// tried: in a forked copy nobody may be left to unlock it.
#pragma once

#include <tether/config.hpp>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

struct Block {
    std::byte* data = nullptr;
    std::size_t capacity = 0;
};

class BlockCache {
public:
    static constexpr std::size_t smallest = std::size_t{1} << 20;
    static constexpr std::size_t largest_total = std::size_t{256} << 20;

    // Leaked on purpose: Bytes may be destroyed after static destruction.
    static BlockCache& instance() {
        static BlockCache& cache = *new BlockCache;
        return cache;
    }

    Block allocate(std::size_t size) {
        if (size >= smallest) {
            if (const Block kept = take(size); kept.data != nullptr) return kept;
            // Growing by doubling should find a kept block again.
            size = round_up(size);
        }
        auto* data = static_cast<std::byte*>(std::malloc(size));
        if (data == nullptr) throw std::bad_alloc{};
        return {data, size};
    }

    void release(Block block) noexcept {
        if (block.capacity >= smallest) {
            const std::unique_lock lock{mutex_, std::try_to_lock};
            if (lock && total_ + block.capacity <= largest_total) {
                for (auto& slot : slots_) {
                    if (slot.data != nullptr) continue;
                    slot = block;
                    total_ += block.capacity;
                    return;
                }
            }
        }
        std::free(block.data);
    }

    // Gives everything back to the system; for a process that goes idle.
    void trim() noexcept {
        const std::unique_lock lock{mutex_, std::try_to_lock};
        if (!lock) return;
        for (auto& slot : slots_) std::free(std::exchange(slot, Block{}).data);
        total_ = 0;
    }

private:
    static std::size_t round_up(std::size_t size) noexcept {
        constexpr std::size_t page = 64 * 1024;
        return size > std::size_t(-1) - page ? size : (size + page - 1) / page * page;
    }

    Block take(std::size_t size) noexcept {
        const std::unique_lock lock{mutex_, std::try_to_lock};
        if (!lock) return {};
        Block* best = nullptr;
        for (auto& slot : slots_) {
            // A block four times too large would waste more than it saves.
            if (slot.data == nullptr || slot.capacity < size || slot.capacity / 4 > size) continue;
            if (best == nullptr || slot.capacity < best->capacity) best = &slot;
        }
        if (best == nullptr) return {};
        total_ -= best->capacity;
        return std::exchange(*best, Block{});
    }

    std::mutex mutex_;
    std::array<Block, 8> slots_{};
    std::size_t total_ = 0;
};

}  // namespace detail
TETHER_NAMESPACE_END
