// Why: what user code throws is not always as it should be: a text may be null or without end, and
// some of what unwinds a stack is no exception at all.
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

// How a thread ends in pthread_exit and in its cancellation. The process ends if a catch clause
// keeps it.
#if defined(__GLIBCXX__)
using ForcedUnwind = abi::__forced_unwind;
#else
class ForcedUnwind {
    ForcedUnwind() = default;  // never made
};
#endif

inline constexpr std::size_t longest_thrown_text = std::size_t{1} << 20;

inline constexpr const char* foreign_text = "an exception that is no std::exception";

// The text, or nothing for a null pointer; cut where it is too long for any reader.
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

// The text of the exception that is being handled.
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
