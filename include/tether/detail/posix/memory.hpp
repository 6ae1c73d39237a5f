// Why: in pages of 4 KiB, the first touch of fresh memory takes longer than copying into it.
#pragma once

#include <tether/config.hpp>

#include <cstddef>

#include <sys/mman.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The size of large pages, and their alignment.
inline constexpr std::size_t large_page = std::size_t{2} << 20;

// Asks for large pages, where there are such; `data` is aligned to one. Without them all is the
// same, only slower.
inline void advise_large_pages([[maybe_unused]] void* data,
                               [[maybe_unused]] std::size_t size) noexcept {
#if defined(MADV_HUGEPAGE) && !defined(TETHER_FORCE_PORTABLE)
    ::madvise(data, size, MADV_HUGEPAGE);
#endif
}

}  // namespace detail
TETHER_NAMESPACE_END
