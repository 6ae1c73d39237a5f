// Why: in pages of 4 KiB, the first touch of fresh memory takes longer than copying into it.
#pragma once

#include <tether/config.hpp>

#include <cstddef>
#include <cstdint>

#include <sys/mman.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The size of large pages, and their alignment.
inline constexpr std::size_t large_page = std::size_t{2} << 20;

// Asks for large pages; `data` is aligned to one. Without them everything is only slower.
inline void advise_large_pages([[maybe_unused]] void* data,
                               [[maybe_unused]] std::size_t size) noexcept {
#if defined(MADV_HUGEPAGE) && !defined(TETHER_FORCE_PORTABLE)
    ::madvise(data, size, MADV_HUGEPAGE);
#endif
}

// Gives most of the pages between back to the system. The bytes are lost, the addresses stay valid.
inline void give_back_pages([[maybe_unused]] void* data,
                            [[maybe_unused]] std::size_t size) noexcept {
    constexpr std::uintptr_t largest_usual_page = std::uintptr_t{64} * 1024;
    const auto first = reinterpret_cast<std::uintptr_t>(data);
    const auto begin = (first + largest_usual_page - 1) / largest_usual_page * largest_usual_page;
    const auto end = (first + size) / largest_usual_page * largest_usual_page;
    if (begin >= end) return;
    auto* const pages = static_cast<std::byte*>(data) + (begin - first);
#if defined(__linux__)
    ::madvise(pages, end - begin, MADV_DONTNEED);
#elif defined(MADV_FREE)
    ::madvise(pages, end - begin, MADV_FREE);
#endif
}

}  // namespace detail
TETHER_NAMESPACE_END
