// Why: a caller that polls for its worker must be woken when its call is over, which takes a
// descriptor. Workers are many and pollers few: the poller brings it, not the connection.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/os.hpp>

#include <array>
#include <cstddef>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Thread-safe.
class WakeUpPool {
public:
    static constexpr std::size_t most_kept = 4;

    // None where there is no descriptor to be had. Allocates nothing.
    std::optional<WakeUp> take() noexcept {
        {
            const std::scoped_lock lock{mutex_};
            if (count_ != 0) return std::exchange(kept_[--count_], std::nullopt);
        }
        try {
            return WakeUp{};
        } catch (const std::exception&) {
            return std::nullopt;
        }
    }

    // With nothing to be read from it.
    void give_back(WakeUp wake) noexcept {
        const std::scoped_lock lock{mutex_};
        if (keeping_ && count_ < most_kept) kept_[count_++] = std::move(wake);
    }

    // Without workers none is kept.
    void keep(bool keeping) noexcept {
        const std::scoped_lock lock{mutex_};
        keeping_ = keeping;
        while (!keeping && count_ != 0) kept_[--count_].reset();
    }

private:
    std::mutex mutex_;
    std::array<std::optional<WakeUp>, most_kept> kept_;
    std::size_t count_ = 0;
    bool keeping_ = false;
};

}  // namespace detail
TETHER_NAMESPACE_END
