// Why: user code may throw anything. A text may be null or enormous, and not everything that
// unwinds a stack is an exception.
#pragma once

#include <tether/config.hpp>

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

TETHER_NAMESPACE_BEGIN
namespace detail {

// Unwinds a thread in pthread_exit and in its cancellation. The process ends if a catch clause does
// not rethrow it.
#if defined(__GLIBCXX__)
using ForcedUnwind = abi::__forced_unwind;
#else
class ForcedUnwind {
    ForcedUnwind() = default;  // never made
};
#endif

inline constexpr std::size_t longest_thrown_text = std::size_t{1} << 20;

inline constexpr const char* foreign_text = "an exception that is no std::exception";

// The text, cut at 1 MiB; empty for a null pointer.
inline std::string bounded_text(const char* text) {
    if (text == nullptr) return {};
    std::size_t size = 0;
    while (size < longest_thrown_text && text[size] != '\0') ++size;
    return {text, size};
}
inline std::string bounded_text(const std::string& text) {
    return text.substr(0, longest_thrown_text);
}

inline std::string text_of(const std::exception& error) { return bounded_text(error.what()); }

// The text of the exception being handled.
inline std::string describe_current() {
    try {
        throw;
    } catch (const std::exception& error) {
        return text_of(error);
    } catch (...) {
        return foreign_text;
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
